// A style that Alpine is given as text becomes an attribute, which our policy stops; given as an object, it is set.
document.addEventListener("alpine:init", () => {
  for (const element of document.querySelectorAll("#changelist-actions")) {
    element.setAttribute("x-bind:style", "{ width: changeListWidth + 'px' }");
  }
});
