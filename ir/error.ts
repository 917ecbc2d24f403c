// The one error class that users meet: a clear sentence, a machine-readable code and the way out.
// Everything thrown on purpose is a ModelcError; anything else that escapes is a bug of ours.

/** What went wrong, by kind; programs branch on this, people read the message. */
export type ErrorCode =
  | 'type' // ill-typed graph: a numbered constraint of an op is violated
  | 'parse' // malformed textual IR, JSON, safetensors, tokenizer, ...
  | 'checkpoint' // a checkpoint that is missing, truncated, inconsistent or of an unknown architecture
  | 'input' // bad arguments of a call: shapes, lengths, option values
  | 'toolchain' // no C compiler, a failed native build, an unwritable cache folder
  | 'unsupported' // a valid request that this build cannot serve
  | 'network'; // a download that broke; trying again goes on where it ended

/** Characters that a message has at most: a few lines; what compilers and typing rules say may be longer. */
const limits: Readonly<Partial<Record<ErrorCode, number>>> = { type: 4000, toolchain: 4000 };
const defaultLimit = 640;

/**
 * The message is cut in its middle where it is long, and holds no control characters: what it quotes may come from a file
 * that wants to write to a terminal.
 */
export class ModelcError extends Error {
  /** Tells it from other errors where `instanceof` cannot. */
  override readonly name = 'ModelcError';
  constructor(
    /** What kind of failure it is: programs branch on it. */
    readonly code: ErrorCode,
    message: string,
    options?: { cause?: unknown },
  ) {
    const limit = limits[code] ?? defaultLimit;
    super(cut(printable(cut(message, limit)), limit), options); // escapes are longer than what they stand for
  }
}

/** The first two thirds of `limit` and the end, where a message says the way out. */
function cut(text: string, limit: number): string {
  if (text.length <= limit) return text;
  const head = Math.floor((limit * 2) / 3);
  return `${text.slice(0, head)} … ${text.slice(text.length - (limit - head))}`;
}

/** `text` without control characters and marks that turn the direction of text: they become their escapes. */
export const printable = (text: string): string =>
  text.replace(
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
    /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
