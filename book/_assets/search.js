// Beneath each result of the search, the place that was found. Pages opened from disk may not fetch one another:
// `searchTexts` (site.py) holds, by page, the label, the title and the text of each section.
(() => {
  const query = new URLSearchParams(location.search).get("q") || "";
  const words = query.toLowerCase().split(/[^\p{L}\p{N}-]+/u).filter((word) => word.length > 1);
  const around = 110; // characters on each side

  function excerpt(text) {
    const small = text.toLowerCase();
    const at = [query.toLowerCase().trim(), ...words].map((word) => small.indexOf(word)).find((place) => place >= 0);
    if (at === undefined) return null;
    const from = at < around ? 0 : text.indexOf(" ", at - around) + 1;
    const to = at + around > text.length ? text.length : text.lastIndexOf(" ", at + around);
    return (from ? "… " : "") + text.slice(from, to) + (to < text.length ? " …" : "");
  }

  function marked(text) {
    const escaped = words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    return text.split(new RegExp(`(${escaped.join("|")})`, "giu")).map((part, i) => {
      if (i % 2 === 0) return part;
      const mark = document.createElement("mark");
      mark.textContent = part;
      return mark;
    });
  }

  function complete(item) {
    const link = item.querySelector("a");
    if (!link || item.querySelector(".context")) return;
    const [page, label] = link.getAttribute("href").split("#");
    const sections = searchTexts[page.replace(/\.html$/, "")] || [];
    const hits = (section) => {
      const text = `${section[1]} ${section[2]}`.toLowerCase();
      return words.filter((word) => text.includes(word)).length + text.includes(query.toLowerCase().trim());
    };
    const asked = label ? sections.filter((section) => section[0] === label) : sections;
    const best = asked.reduce((best, next) => (best && hits(best) >= hits(next) ? best : next), null);
    const text = best && excerpt(best[2]);
    if (!text) return;
    const context = document.createElement("p");
    context.className = "context";
    if (!label && best !== sections[0]) {
      const place = document.createElement("a");
      [place.href, place.textContent] = [`${page}#${best[0]}`, best[1]];
      context.append(place, ": ");
    }
    context.append(...marked(text));
    item.append(context);
  }

  document.addEventListener("DOMContentLoaded", () => {
    const results = document.getElementById("search-results");
    if (!results || !words.length) return;
    const all = () => results.querySelectorAll("ul.search > li").forEach(complete);
    new MutationObserver(all).observe(results, { childList: true, subtree: true });
    all();
  });
})();
