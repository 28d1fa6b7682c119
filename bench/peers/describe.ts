/** The peers beside the product, as one table with ratios. */
import { findRow, type Row, show } from '../figures.ts';
import { peerNotes } from './measure.ts';

/** Scenarios of a peer, and with which of ours each is compared. */
export const compared: readonly { theirs: string; ours: string }[] = [
  { theirs: 'no-op map of 200', ours: 'no-op map of 1000' },
  { theirs: 'no-op map of 1000', ours: 'no-op map of 1000' },
  { theirs: 'no-op map of 10000', ours: 'no-op map of 10000' },
  { theirs: 'round trip p50', ours: 'round trip p50' },
];

/** One peer in one scenario; a ratio over 1 speaks for the product. */
export interface Comparison {
  peer: string;
  scenario: string;
  theirs: Row;
  ours: Row;
  ratio: number;
}

/** Every peer that was measured, beside the product. */
export function comparePeers(rows: readonly Row[]): Comparison[] {
  const peers = [...new Set(rows.map((row) => row.of))].filter((name) => name in peerNotes);
  return peers.flatMap((peer) =>
    compared.flatMap(({ theirs: scenario, ours: own }) => {
      const ours = findRow(rows, 'product', own);
      const theirs = findRow(rows, peer, scenario);
      if (ours === undefined || theirs === undefined) return [];
      const isTime = theirs.unit === 'ms';
      const ratio = isTime ? theirs.median / ours.median : ours.median / theirs.median;
      return [{ peer, scenario, theirs, ours, ratio }];
    }),
  );
}

/** Empty where no peer was measured. A ratio over 1 speaks for the product. */
export function describePeers(rows: readonly Row[]): string {
  const comparisons = comparePeers(rows);
  if (comparisons.length === 0) return '';
  const lines = comparisons.map(
    ({ peer, scenario, theirs, ours, ratio }) =>
      `${peer.padEnd(12)}${scenario.padEnd(22)}${show(theirs.median).padStart(9)} ${theirs.unit.padEnd(8)} ours ${show(ours.median).padStart(8)}  ${show(ratio)} x\n`,
  );
  const notes = [...new Set(comparisons.map(({ peer }) => peer))].map(
    (peer) => `${peer}: ${peerNotes[peer]}\n`,
  );
  return `\n${lines.join('')}\n${notes.join('')}`;
}
