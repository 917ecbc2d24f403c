// What whoever runs the entry `decode_sample` must know of it.

/** What its input `sampling` f32 [4] holds, in order. top_p 1 and min_p 0 drop nothing. */
export const samplingParameters = ['temperature', 'top_k', 'top_p', 'min_p'] as const;

/** The largest top_k that it serves. */
export const largestTopK = 64;

/** The largest uniform number that is below 1 as f32. */
export const largestUniform = 1 - 2 ** -24;
