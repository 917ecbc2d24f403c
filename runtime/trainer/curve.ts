// The curve of a training as a picture: loss and evaluation loss above, the learning rate below, over the steps. It is made
// of what the Trainer logs (log_history of trainer_state.json), as SVG; curve-page.ts makes a page of it.
import type { LogEntry } from './trainer-state.ts';

interface Series {
  readonly name: string;
  readonly color: string;
  readonly points: readonly Point[];
  /** Whether points are marked, as few of them are. */
  readonly marked: boolean;
}
type Point = readonly [step: number, value: number];

interface Panel {
  readonly series: readonly Series[];
  readonly top: number;
  readonly height: number;
}

/** Sizes of a picture, in pixels: of a screen, and of a phone. */
interface Layout {
  readonly width: number;
  readonly left: number;
  readonly right: number;
  readonly losses: number;
  readonly rates: number;
  readonly steps: number;
}
export const layouts = {
  wide: { width: 800, left: 64, right: 20, losses: 260, rates: 110, steps: 6 },
  narrow: { width: 340, left: 46, right: 20, losses: 210, rates: 90, steps: 4 },
} as const satisfies Record<string, Layout>;
const top = 40;
const below = 44;
/** More points than this are averaged: a screen shows no more. */
const mostPoints = 800;

/** Colours of a light and of a dark screen, by what they are of. */
const style = `<style>
.curve { --page: #ffffff; --ink: #1f2937; --faint: #6b7280; --grid: #e5e7eb; --loss: #2563eb; --eval: #c2410c; --rate: #15803d; }
@media (prefers-color-scheme: dark) {
.curve { --page: #0f172a; --ink: #e2e8f0; --faint: #94a3b8; --grid: #293548; --loss: #60a5fa; --eval: #fb923c; --rate: #4ade80; }
}
.curve .page { fill: var(--page); }
.curve text { fill: var(--faint); }
.curve .title { fill: var(--ink); }
.curve .grid { stroke: var(--grid); }
</style>`;

/** The picture alone, with its title. */
export const curveSvg = (history: readonly LogEntry[], title = 'Training'): string =>
  `${drawCurve(history, layouts.wide, title)}\n`;

/** The picture in a layout; without a title where a page has one. */
export function drawCurve(history: readonly LogEntry[], layout: Layout, title?: string): string {
  const losses = [series(history, 'loss', '--loss'), series(history, 'eval_loss', '--eval')];
  const rates = [series(history, 'learning_rate', '--rate')];
  const panels: Panel[] = [];
  let bottom = title === undefined ? top - 16 : top + 8;
  for (const [lines, height] of [
    [losses, layout.losses],
    [rates, layout.rates],
  ] as const) {
    const filled = lines.filter(({ points }) => points.length > 0);
    if (filled.length === 0) continue;
    panels.push({ series: filled, top: bottom, height });
    bottom += height + below;
  }
  const { width, left, right } = layout;
  const last = lastStepOf(history);
  const body =
    panels.length > 0
      ? [...panels.map((panel) => drawPanel(panel, last, layout)), stepName(bottom, layout)].join('\n')
      : `<text x="${width / 2}" y="${bottom + 30}" text-anchor="middle">nothing was logged yet</text>`;
  const height = Math.max(bottom, 120);
  const name = title === undefined ? '' : `<text class="title" x="${left}" y="24" font-size="15" font-weight="600">${escapeXml(title)}</text>`; // biome-ignore format: one row
  return `<svg class="curve" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" data-left="${left}" data-right="${width - right}" font-family="system-ui, sans-serif" font-size="12">
${style}
<rect class="page" width="${width}" height="${height}"/>
${name}
${body}
</svg>`;
}

/** The step at the right end. */
export const lastStepOf = (history: readonly LogEntry[]): number =>
  Math.max(1, ...history.map(({ step }) => step).filter(Number.isFinite));

function series(history: readonly LogEntry[], name: string, color: string): Series {
  const points = history
    .filter((entry) => Number.isFinite(entry[name]) && Number.isFinite(entry.step))
    .map((entry): Point => [entry.step, entry[name]])
    .sort(([a], [b]) => a - b);
  return { name, color, points: thinned(points), marked: points.length <= 40 };
}

/** Means of neighbours, where there are too many points. */
function thinned(points: readonly Point[]): readonly Point[] {
  const group = Math.ceil(points.length / mostPoints);
  if (group <= 1) return points;
  const mean = (part: readonly Point[], of: 0 | 1): number => part.reduce((sum, p) => sum + p[of], 0) / part.length;
  return Array.from({ length: Math.ceil(points.length / group) }, (_, i): Point => {
    const part = points.slice(i * group, (i + 1) * group);
    return [mean(part, 0), mean(part, 1)];
  });
}

function drawPanel({ series, top, height }: Panel, lastStep: number, layout: Layout): string {
  const { left } = layout;
  const plotWidth = layout.width - left - layout.right;
  const values = series.flatMap(({ points }) => points.map(([, value]) => value));
  const ticks = ticksOf(Math.min(...values), Math.max(...values), height > 150 ? 5 : 3);
  const [low, high] = [ticks[0], ticks[ticks.length - 1]];
  const x = (step: number): number => round(left + (step / lastStep) * plotWidth);
  const y = (value: number): number => round(top + height - ((value - low) / (high - low)) * height);
  const parts: string[] = [];
  for (const tick of ticks) {
    parts.push(
      `<path class="grid" d="M${left} ${y(tick)}h${plotWidth}"/>`,
      `<text x="${left - 8}" y="${y(tick) + 4}" text-anchor="end">${label(tick)}</text>`,
    );
  }
  for (const tick of ticksOf(0, lastStep, layout.steps).filter((step) => step <= lastStep)) {
    parts.push(`<text x="${x(tick)}" y="${top + height + 18}" text-anchor="middle">${label(tick)}</text>`);
  }
  for (const { points, color, marked } of series) {
    const line = points.map(([step, value], i) => `${i === 0 ? 'M' : 'L'}${x(step)} ${y(value)}`).join('');
    parts.push(`<path d="${line}" fill="none" style="stroke: var(${color})" stroke-width="1.75" stroke-linejoin="round"/>`); // biome-ignore format: one row
    if (!marked) continue;
    for (const [step, value] of points)
      parts.push(`<circle cx="${x(step)}" cy="${y(value)}" r="2.5" style="fill: var(${color})"/>`);
  }
  let right = left + plotWidth;
  for (const { name, color, points } of [...series].reverse()) {
    const text = `${name} ${label(points[points.length - 1][1])}`;
    parts.push(`<text x="${right}" y="${top - 8}" text-anchor="end" style="fill: var(${color})">${escapeXml(text)}</text>`); // biome-ignore format: one row
    right -= text.length * 6.4 + 16;
  }
  return parts.join('\n');
}

/** What the axis is of, below the last panel. */
const stepName = (bottom: number, { width, right }: Layout): string =>
  `<text x="${width - right}" y="${bottom - 8}" text-anchor="end">step</text>`;

/** Round numbers from below the least to above the largest value. */
function ticksOf(least: number, largest: number, count: number): number[] {
  const span = largest - least || Math.abs(largest) || 1;
  const power = 10 ** Math.floor(Math.log10(span / count));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => span / size <= count) ?? 10 * power;
  const first = Math.floor(least / step + 1e-9);
  const last = Math.max(first + 1, Math.ceil(largest / step - 1e-9));
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

const round = (value: number): number => Math.round(value * 10) / 10;

/** A number in four digits; '' for none. */
export function label(value: number | undefined): string {
  if (value === undefined || !Number.isFinite(value)) return value === undefined ? '' : String(value);
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e6)
    ? value.toExponential(2).replace(/\.?0+e/, 'e')
    : String(Number(value.toPrecision(4)));
}

export const escapeXml = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
