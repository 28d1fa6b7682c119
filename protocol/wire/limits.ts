/**
 * Bounds that both ends must agree on. Each names what it guards and what happens at the bound.
 * Bounds of one process alone live in that process's settings table.
 */
const kib = 1024;
const mib = 1024 * kib;

/** A frame on a libp2p stream: a longer one ends the stream. Batches are cut to stay below. */
export const frameBytesMax = 32 * mib;
/** An argument or result up to this travels inline; a longer one as a blob by reference. */
export const inlineBytesMax = 64 * kib;
/** A result up to this waits in its agent's memory and shares a stream with others; a longer one has its own. */
export const lineResultBytesMax = 4 * mib;
/** One batch's block of arguments; the SDKs cut larger maps into several batches. */
export const batchBytesMax = 16 * mib;
/** Tasks of one batch; the SDKs cut larger maps into several batches. */
export const batchTasksMax = 5_000;
/** A blob (function, argument, result): beyond it the upload is refused with `too_large`. */
export const blobBytesMax = 64 * kib * mib;
/** Files that one task may give out; the agent refuses more, the coordinator a report that has more. */
export const taskOutputsMax = 256;
/** What an output's writer tells of it, as JSON; longer is refused where it is written. */
export const outputMetadataCharsMax = 32 * kib;
/** A JSON request body. */
export const jsonBytesMax = 4 * mib;
/** The start of a task's log that is always kept. */
export const logHeadBytes = 1 * mib;
/** The end of a task's log that is kept; what lies between is cut, and the cut is said in the log. */
export const logTailBytes = 7 * mib;
/** One piece of log on the wire. */
export const logChunkBytesMax = 256 * kib;
/** Exception texts: longer ones are cut in the middle by the harness, and again by the agent. */
export const exceptionNameCharsMax = 200;
export const exceptionMessageCharsMax = 16_000;
export const tracebackCharsMax = 64_000;
/** Outcomes in one report frame. */
export const reportOutcomesMax = 2_000;
/** Times a task may lose its node without being charged; then it ends as `lost`. */
export const nodeLossesMax = 5;
/** Attempts that a node may hold, running or waiting. */
export const heldAttemptsMax = 4_096;
/** A group's, token's or node's name. */
export const nameCharsMax = 63;
/** Environment of a group: entries, and bytes of all of them. */
export const environmentEntriesMax = 200;
export const environmentBytesMax = 64 * kib;

/** Modules that one group may carry, and the length of a dotted name. */
export const includeModulesMax = 1_000;
export const includeModuleCharsMax = 300;

/** Addresses that a node may say it listens on. */
export const peerAddressesMax = 16;
/** Images, assets and peers, each, in one question of a node where they are. */
export const locateItemsMax = 256;
/** Nodes in one answer to it, the least loaded of those that fit. */
export const locatedNodesMax = 64;
/** Origins in one message; a node that reads from more goes by its own limits for the others. */
export const originsMax = 1_000;
/** Longest pause that an origin's answer can put on the mesh. */
export const originPauseMsMax = 60_000;
/** Changes of holdings in one message; a full list is cut there, with the largest assets first. */
export const holdingsChangesMax = 50_000;
