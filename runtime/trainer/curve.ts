// The curve of a training as a picture: loss and evaluation loss above, the learning rate below, over the steps. It is made
// of what the Trainer logs (log_history of trainer_state.json), as SVG, and as a page that holds the SVG and the numbers.
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

const width = 800;
const margin = { left: 72, right: 24, top: 40, bottom: 44 };
const plotWidth = width - margin.left - margin.right;
/** More points than this are averaged: a screen shows no more. */
const mostPoints = 800;

/** The curves of a training: loss and eval_loss, and the learning rate. `title` is text, and is escaped. */
export function curveSvg(history: readonly LogEntry[], title = 'Training'): string {
  const losses = [series(history, 'loss', '#2563eb'), series(history, 'eval_loss', '#ea580c')];
  const rates = [series(history, 'learning_rate', '#16a34a')];
  const panels: Panel[] = [];
  let top = margin.top;
  for (const [lines, height] of [
    [losses, 260],
    [rates, 110],
  ] as const) {
    const filled = lines.filter(({ points }) => points.length > 0);
    if (filled.length === 0) continue;
    panels.push({ series: filled, top, height });
    top += height + margin.bottom;
  }
  const last = Math.max(
    1,
    ...panels.flatMap((panel) => panel.series.map(({ points }) => points[points.length - 1][0])),
  );
  const body =
    panels.length > 0
      ? [...panels.map((panel) => drawPanel(panel, last)), stepName(top)].join('\n')
      : `<text x="${width / 2}" y="${top + 40}" text-anchor="middle">nothing was logged yet</text>`;
  const height = Math.max(top, 120);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="system-ui, sans-serif" font-size="12" fill="#334155">
<rect width="${width}" height="${height}" fill="#ffffff"/>
<text x="${margin.left}" y="24" font-size="15" font-weight="600">${escapeXml(title)}</text>
${body}
</svg>
`;
}

/** A page with the curves of a training and a table of its logs. `title` is text, and is escaped. */
export function curveHtml(history: readonly LogEntry[], title = 'Training'): string {
  const names = ['loss', 'eval_loss', 'grad_norm', 'learning_rate'].filter((name) =>
    history.some((entry) => Number.isFinite(entry[name])),
  );
  const rows = history.filter((entry) => names.some((name) => name in entry));
  const cells = (entry: LogEntry): string => names.map((name) => `<td>${label(entry[name])}</td>`).join('');
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>${escapeXml(title)}</title>
<style>
  body { font: 14px/1.5 system-ui, sans-serif; color: #334155; max-width: 800px; margin: 2em auto; padding: 0 1em; }
  svg { max-width: 100%; height: auto; }
  table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
  th, td { padding: 0.1em 1em; text-align: right; border-bottom: 1px solid #e2e8f0; }
</style>
${curveSvg(history, title)}
<table>
<thead><tr><th>step</th>${names.map((name) => `<th>${escapeXml(name)}</th>`).join('')}</tr></thead>
<tbody>
${rows.map((entry) => `<tr><td>${label(entry.step)}</td>${cells(entry)}</tr>`).join('\n')}
</tbody>
</table>
</html>
`;
}

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

function drawPanel({ series, top, height }: Panel, lastStep: number): string {
  const values = series.flatMap(({ points }) => points.map(([, value]) => value));
  const ticks = ticksOf(Math.min(...values), Math.max(...values), height > 150 ? 5 : 3);
  const [low, high] = [ticks[0], ticks[ticks.length - 1]];
  const x = (step: number): number => round(margin.left + (step / lastStep) * plotWidth);
  const y = (value: number): number => round(top + height - ((value - low) / (high - low)) * height);
  const parts: string[] = [];
  for (const tick of ticks) {
    parts.push(
      `<path d="M${margin.left} ${y(tick)}h${plotWidth}" stroke="#e2e8f0"/>`,
      `<text x="${margin.left - 8}" y="${y(tick) + 4}" text-anchor="end">${label(tick)}</text>`,
    );
  }
  for (const tick of ticksOf(0, lastStep, 6).filter((step) => step <= lastStep)) {
    parts.push(`<text x="${x(tick)}" y="${top + height + 18}" text-anchor="middle">${label(tick)}</text>`);
  }
  for (const { points, color, marked } of series) {
    const line = points.map(([step, value], i) => `${i === 0 ? 'M' : 'L'}${x(step)} ${y(value)}`).join('');
    parts.push(`<path d="${line}" fill="none" stroke="${color}" stroke-width="1.75" stroke-linejoin="round"/>`);
    if (!marked) continue;
    for (const [step, value] of points)
      parts.push(`<circle cx="${x(step)}" cy="${y(value)}" r="2.5" fill="${color}"/>`);
  }
  let right = margin.left + plotWidth;
  for (const { name, color, points } of [...series].reverse()) {
    const text = `${name} ${label(points[points.length - 1][1])}`;
    parts.push(`<text x="${right}" y="${top - 8}" text-anchor="end" fill="${color}">${escapeXml(text)}</text>`);
    right -= text.length * 7 + 16;
  }
  return parts.join('\n');
}

/** What the axis is of, below the last panel. */
const stepName = (bottom: number): string =>
  `<text x="${margin.left + plotWidth}" y="${bottom - 8}" text-anchor="end" fill="#64748b">step</text>`;

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

function label(value: number | undefined): string {
  if (value === undefined) return '';
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e6)
    ? value.toExponential(2).replace(/\.?0+e/, 'e')
    : String(Number(value.toPrecision(4)));
}

const escapeXml = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
