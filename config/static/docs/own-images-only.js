// ReDoc's bundle shows a logo that it takes from another host. These pages ask nobody but this server: an image of
// another origin gets no address and is told that it could not be loaded, upon which ReDoc takes it away.
{
  const image = HTMLImageElement.prototype;
  const src = Object.getOwnPropertyDescriptor(image, "src");
  const setAttribute = Element.prototype.setAttribute;

  const isForeign = (address) => {
    const url = new URL(address, location);
    return url.protocol.startsWith("http") && url.origin !== location.origin;
  };
  const fail = (element) => setTimeout(() => element.dispatchEvent(new Event("error")));

  Object.defineProperty(image, "src", {
    ...src,
    set(address) {
      isForeign(address) ? fail(this) : src.set.call(this, address);
    },
  });
  image.setAttribute = function (name, value) {
    name === "src" && isForeign(value) ? fail(this) : setAttribute.call(this, name, value);
  };
}
