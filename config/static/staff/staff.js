// A style that Alpine is given as text becomes an attribute, which our policy stops; given as an object, it is set.
document.addEventListener("alpine:init", () => {
  for (const element of document.querySelectorAll("#changelist-actions")) {
    element.setAttribute("x-bind:style", "{ width: changeListWidth + 'px' }");
  }
});

// What Unfold leaves out for those who listen to a page, use it by keyboard, or do not see pale figures.
const PRESSED = ":is(a:not([href]), span, div.cursor-pointer)[x-on\\:click]";
document.addEventListener("DOMContentLoaded", () => {
  document.querySelector("#main, .login #page")?.setAttribute("role", "main");
  for (const element of document.querySelectorAll(PRESSED)) {
    element.setAttribute("role", "button");
    element.tabIndex = 0;
  }
  for (const { dataset } of document.querySelectorAll("#result_list [data-label]")) {
    dataset.label = dataset.label.charAt(0).toUpperCase() + dataset.label.slice(1);
  }
  // Of Unfold's app.js, which draws when all is loaded.
  for (const { ticks } of Object.values(DEFAULT_CHART_OPTIONS.scales)) {
    const shade = () => (document.documentElement.classList.contains("dark") ? 400 : 500);
    ticks.color = () => getComputedStyle(document.documentElement).getPropertyValue(`--color-base-${shade()}`);
  }
  const titles = { "#nav-sidebar [data-simplebar]": "#site-name", "#main [data-simplebar]": "h1" };
  for (const [scrolled, title] of Object.entries(titles)) {
    for (const element of document.querySelectorAll(scrolled)) {
      element.dataset.simplebarAriaLabel = document.querySelector(title)?.textContent.trim() || document.title.trim();
    }
  }
});
document.addEventListener("keydown", (event) => {
  if ((event.key === "Enter" || event.key === " ") && event.target.matches(PRESSED)) {
    event.preventDefault();
    event.target.click();
  }
});
