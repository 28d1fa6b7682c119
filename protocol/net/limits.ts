/** Bounds of the links between processes. */
const kib = 1024;
const mib = 1024 * kib;

/** Bytes that a peer may send on one stream before it is read: 4 MiB fill a 100 ms line at 40 MB/s. */
export const streamWindowBytesMax = 4 * mib;
/** The same from a stream's beginning, before it is known how fast it is read. */
export const streamWindowBytesFirst = 1 * mib;
/** What libp2p may hold of a paused stream. It must exceed the window, or pausing would reset streams. */
export const streamReadBufferBytesMax = 2 * streamWindowBytesMax;
/** Frames waiting for a slow peer; beyond it the stream is closed, and the peer comes back afresh. */
export const frameQueueBytesMax = 96 * mib;
/** Raw bytes read ahead of a consumer before the sender is held back. */
export const readAheadBytesMax = 1 * mib;
/** A blob request or answer: nothing in it is long. */
export const blobFrameBytesMax = 16 * kib;
/** Of one file in memory before they are written. */
export const writtenTogetherBytes = 1 * mib;
/** Results of one agent that wait for the disk; beyond it no more are read. */
export const resultsInFlightMax = 16;
/** A stream of results that has nothing to carry is closed after so long; it must be below `idleMsMax` of `transferWaits`. */
export const resultLingerMs = 10_000;
/** How long an end of a transfer waits for the other one. */
export interface TransferWaits {
  /** For a byte to leave, or to come. */
  idleMsMax: number;
  /** For an upload's answer, from the last byte on. */
  answerMsMax: number;
}
/**
 * A transfer may take hours while bytes move. When the last ones of an upload have left this process,
 * buffers of some MiB still stand before a slow line, and the other end has gigabytes to sync.
 */
export const transferWaits: TransferWaits = { idleMsMax: 60_000, answerMsMax: 300_000 };
/** Bytes of transfers after which the buffers that they passed through are collected: as much as a window. */
export const passedBytesMax = 4 * mib;
/** What a heap may grow by, with the buffers that it holds, before it is marked; while bytes pass. */
export const heapGrowthBytes = 64 * mib;
/** After so long without bytes a heap is kept small again. */
export const quietMsMax = 5_000;
/** Bytes of one image after which its receiver collects everything. */
export const receivedBytesMax = 64 * mib;
