import type { Row } from './row.js';

const LEGEND = [
  '× raw: median over the rounds of ours divided by raw, above 1 is better; 95 % low: the lower end of its 95 % interval.',
  'p50 and p99: how long one operation of ours takes, in ms; p99Ratio: that p99 divided by the p99 of raw, below 1 is better.',
  'fairness: what the luckiest of several clients got, divided by what the unluckiest got; 1 is best.',
];

/** The rows as a table for people; ratios above 1 mean that ours is better. */
export function humanTable(rows: readonly Row[]): string {
  const head = ['row', 'unit', 'ours', 'raw', '× raw (95 % low)', '× best peer', 'commands/op', 'extra'];
  const body = rows.map((row) => [
    row.name,
    row.unit,
    String(row.ours),
    String(row.raw ?? '–'),
    row.ratioToRaw === undefined ? '–' : `${row.ratioToRaw} (${row.ratioToRawLow})`,
    String(row.ratioToBestPeer ?? '–'),
    String(row.commandsPerOp ?? '–'),
    entries(row.extra),
  ]);
  const peers = rows.map((row) => `${row.name} peers: ${entries(row.peers) || 'none'}`);
  return [...aligned([head, ...body]), ...peers, ...LEGEND].join('\n');
}

function aligned(lines: readonly (readonly string[])[]): string[] {
  const widths = (lines[0] ?? []).map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
  return lines.map((line) =>
    line
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}

function entries(record: Readonly<Record<string, number | string>>): string {
  return Object.entries(record)
    .map(([key, value]) => `${key} ${value}`)
    .join(', ');
}
