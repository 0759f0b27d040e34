// ReDoc writes its styles into elements of its own, which the policy of the page lets pass by the nonce of this script.
{
  const { nonce } = document.currentScript;
  const family = { fontFamily: "system-ui, sans-serif" };
  const theme = {
    spacing: { sectionVertical: 24 },
    colors: { primary: { main: "#2f4bd8" } },
    typography: { ...family, headings: family },
  };
  const element = document.getElementById("redoc");
  Redoc.init(element.dataset.schema, { nonce, theme }, element);
}
