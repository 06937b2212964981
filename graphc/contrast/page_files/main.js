// Puts the page together: draws every panel, then does what the address asks for.

function showTheme() {
  const dark = state.theme ? state.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  if (state.theme) document.documentElement.dataset.theme = state.theme;
  else delete document.documentElement.dataset.theme;
  const button = byId("theme");
  button.textContent = dark ? "Light" : "Dark";
  button.setAttribute("aria-label", `Switch to ${dark ? "light" : "dark"} colours`);
  button.onclick = () => change({ theme: dark ? "light" : "dark" });
}

drawSummary();
drawTimelines();
drawSource();
drawGraph();
drawKernels();
drawMemory();
drawLosses();
drawPrograms();
drawSearch();
onChange(drawSelection);
onChange(showTheme);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showTheme);
window.addEventListener("hashchange", () => change(readAddress()));
state.stage = (data.stages.find((stage) => stage.name === "recorded") ?? data.stages[0]).id;
change(readAddress());
document.documentElement.dataset.ready = "";
