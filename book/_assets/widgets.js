// What html-manager's embed.js expects of a page, before it is loaded itself.

// Where its fonts lie; it would ask the network for them.
window.__jupyter_widgets_assets_path__ = new URL("widgets/", document.currentScript.src).href;

// It hands new text to MathJax 2's queue; the book has MathJax 3.
window.addEventListener("load", () => {
  if (window.MathJax && !MathJax.Hub) {
    MathJax.Hub = { Queue: ([, , element]) => MathJax.typesetPromise?.([element]) };
  }
});
