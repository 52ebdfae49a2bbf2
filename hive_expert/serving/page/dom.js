// The only way anything gets onto the page: elements with text. Nothing is ever read as HTML.

export const $ = (id) => document.getElementById(id);

/** An element with a class and children; children that are no nodes become text. */
export function element(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

export function button(label, describe, act) {
  const node = element("button", "quiet", label);
  node.type = "button";
  node.setAttribute("aria-label", describe);
  node.addEventListener("click", act);
  return node;
}
