// What is too pale to be read or seen, by the rules of WCAG 2: text below 4.5, marks below 3.
(() => {
  const numbers = (colour) => colour.match(/[\d.]+/g).map(Number);
  const linear = (part) => part <= 10.31475 ? part / 3294.6 : ((part / 255 + 0.055) / 1.055) ** 2.4;
  const luminance = ([red, green, blue]) =>
    0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
  const behind = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = numbers(getComputedStyle(each).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const contrast = (colour, background) => {
    const [dark, light] = [luminance(numbers(colour)), luminance(background)].sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05);
  };
  const pale = (element, colour, least) => {
    const found = contrast(colour, behind(element));
    const name = `${element.tagName}.${element.getAttribute("class")} ${element.textContent}`;
    return found < least ? [`${found.toFixed(2)} ${name.slice(0, 60)}`] : [];
  };
  const written = [...document.querySelectorAll("body *")].filter((element) =>
    !["title", "TITLE"].includes(element.tagName) && element.getClientRects().length &&
    [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()));
  const texts = written.flatMap((element) => {
    const style = getComputedStyle(element);
    return pale(element, element.tagName === "text" ? style.fill : style.color, 4.5);
  });
  const filled = [...document.querySelectorAll("rect.b:not(.x), rect.i:not(.x), rect.w")];
  const outlined = [...document.querySelectorAll("rect.m, rect.x, rect.gap")];
  return [
    ...texts,
    ...filled.flatMap((mark) => pale(mark, getComputedStyle(mark).fill, 3)),
    ...outlined.flatMap((mark) => pale(mark, getComputedStyle(mark).stroke, 3)),
  ].slice(0, 5);
})()
