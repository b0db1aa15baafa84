/** What a colour of the style sheet is in this place and theme, for what is painted by hand: canvases know no `light-dark()`. */
export function colorsIn(place: Element): (name: string) => string {
  return (name) => {
    const probe = document.createElement('i');
    probe.style.color = `var(${name})`;
    place.append(probe);
    const { color } = getComputedStyle(probe);
    probe.remove();
    return color;
  };
}
