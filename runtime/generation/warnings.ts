// Warnings of generation: valid calls that surely do not do what their author meant. Each text is printed once.

const said = new Set<string>();

export function warnOnce(text: string): void {
  if (said.has(text)) return;
  said.add(text);
  console.warn(text);
}
