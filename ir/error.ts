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
  | 'network' // a download that broke; trying again goes on where it ended
  | 'aborted'; // the user's AbortSignal fired

export class ModelcError extends Error {
  override readonly name = 'ModelcError';
  constructor(
    readonly code: ErrorCode,
    message: string,
    options?: { cause?: unknown },
  ) {
    super(message, options);
  }
}
