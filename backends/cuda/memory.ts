// Memory that a kernel names: a buffer, or an `alloc` of its own.
import type { DType } from '../../ir/dtype.ts';

export interface Memory {
  readonly c: string;
  readonly dtype: DType;
  readonly space: 'global' | 'group' | 'thread';
  /** Of an `alloc`. */
  readonly bytes?: number;
}
