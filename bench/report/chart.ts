/** Charts as SVG, of the little that is needed here: bars, and lines over a logarithmic axis. */
import { show } from '../figures.ts';

const width = 760;
const ink = '#1f2937';
const faint = '#d1d5db';
const colours = ['#0f766e', '#b45309', '#4338ca', '#9f1239'];

export interface Bar {
  label: string;
  value: number;
  unit: string;
  /** Ours stand out. */
  isOurs: boolean;
}

/** Bars whose length is the logarithm of their value: what is compared differs by a hundred. */
export function drawBars(title: string, bars: readonly Bar[]): string {
  const rowHeight = 26;
  const left = 230;
  const room = width - left - 150;
  const values = bars.map(({ value }) => Math.log10(Math.max(value, 1)));
  const longest = Math.max(...values, 1);
  const rows = bars.map(({ label, value, unit, isOurs }, at) => {
    const y = 44 + at * rowHeight;
    const length = Math.max(2, (room * Math.log10(Math.max(value, 1))) / longest);
    return `<text x="${left - 8}" y="${y + 14}" text-anchor="end">${escapeXml(label)}</text>
<rect x="${left}" y="${y}" width="${length.toFixed(1)}" height="18" fill="${isOurs ? colours[0] : '#9ca3af'}"/>
<text x="${(left + length + 6).toFixed(1)}" y="${y + 14}">${escapeXml(`${show(value)} ${unit}`)}</text>`;
  });
  return frame(title, 60 + bars.length * rowHeight, rows.join('\n'));
}

export interface Line {
  name: string;
  points: readonly { x: number; y: number }[];
}

/** Lines over a logarithmic x axis; y begins at 0. */
export function drawLines(
  title: string,
  axes: { x: string; y: string },
  lines: readonly Line[],
): string {
  const [left, top, bottom, right] = [70, 50, 300, width - 40];
  const all = lines.flatMap(({ points }) => points);
  const logs = all.map(({ x }) => Math.log10(x));
  const [low, high] = [Math.min(...logs), Math.max(...logs)];
  const most = Math.max(...all.map(({ y }) => y), 1) * 1.15;
  const xOf = (x: number): number =>
    left + ((right - left) * (Math.log10(x) - low)) / Math.max(high - low, 1e-9);
  const yOf = (y: number): number => bottom - ((bottom - top) * y) / most;
  const parts: string[] = [];
  for (let step = 0; step <= 4; step += 1) {
    const value = (most * step) / 4;
    const y = yOf(value).toFixed(1);
    parts.push(
      `<line x1="${left}" x2="${right}" y1="${y}" y2="${y}" stroke="${faint}"/>`,
      `<text x="${left - 8}" y="${y}" dy="4" text-anchor="end">${escapeXml(show(value))}</text>`,
    );
  }
  for (const x of new Set(all.map((point) => point.x))) {
    parts.push(
      `<text x="${xOf(x).toFixed(1)}" y="${bottom + 18}" text-anchor="middle">${escapeXml(show(x))}</text>`,
    );
  }
  lines.forEach(({ name, points }, at) => {
    const colour = colours[at % colours.length] ?? ink;
    const path = points.map(({ x, y }) => `${xOf(x).toFixed(1)},${yOf(y).toFixed(1)}`).join(' ');
    parts.push(`<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="2"/>`);
    for (const { x, y } of points) {
      parts.push(
        `<circle cx="${xOf(x).toFixed(1)}" cy="${yOf(y).toFixed(1)}" r="3.5" fill="${colour}"/>`,
      );
    }
    parts.push(
      `<text x="${right}" y="${top - 14 + at * 16}" text-anchor="end" fill="${colour}">${escapeXml(name)}</text>`,
    );
  });
  parts.push(
    `<text x="${(left + right) / 2}" y="${bottom + 38}" text-anchor="middle">${escapeXml(axes.x)}</text>`,
    `<text x="${left - 50}" y="${top - 14}">${escapeXml(axes.y)}</text>`,
  );
  return frame(title, bottom + 50, parts.join('\n'));
}

function frame(title: string, height: number, body: string): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="sans-serif" font-size="12" fill="${ink}" role="img" aria-label="${escapeXml(title)}">
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="16" y="26" font-size="15" font-weight="bold">${escapeXml(title)}</text>
${body}
</svg>
`;
}

function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');
}
