/** `site=berlin kind=pump`, or one a line → labels. @throws Error that says which word is wrong. */
export function labelsOf(text: string): Record<string, string> {
  const labels: Record<string, string> = {};
  for (const word of text.split(/[\s,]+/).filter(Boolean)) {
    const at = word.indexOf('=');
    if (at < 1 || at === word.length - 1) throw new Error(`${word} is no label; expected name=value`);
    labels[word.slice(0, at)] = word.slice(at + 1);
  }
  return labels;
}
