// A figure of several states shows one of them; a slider leads through all of them.
document.addEventListener("DOMContentLoaded", () => {
  for (const figure of document.querySelectorAll("figure:has(> img.state)")) {
    const states = [...figure.querySelectorAll(":scope > img.state")];
    const line = document.createElement("p");
    const label = document.createElement("label");
    const slider = document.createElement("input");
    const output = document.createElement("output");
    line.className = "states";
    slider.type = "range";
    slider.max = states.length - 1;
    slider.value = states.findIndex((state) => state.classList.contains("shown"));
    label.append("Drag: ", slider);
    line.append(label, " ", output);
    figure.querySelector("figcaption").before(line);
    const show = () => {
      states.forEach((state, i) => state.classList.toggle("shown", i === Number(slider.value)));
      output.value = slider.ariaValueText = states[slider.value].alt;
    };
    figure.classList.add("slides");
    slider.addEventListener("input", show);
    show();
  }
});
