// The templates for targets whose tasks are groups of threads.
export { attentionKernel } from './attention.ts';
export { mapKernel } from './map.ts';
export { matmulKernel } from './matmul.ts';
export { matvecKernel } from './matvec.ts';
export { rowKernel } from './row.ts';
export { sortKernel } from './sort.ts';
export { scanKernel, scatterKernel, updateKernel } from './update.ts';
