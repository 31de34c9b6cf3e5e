export { type AttentionWeights, groupedQueryAttention } from "./grouped-query-attention.ts";
export { PagedAllocator } from "./paged-allocator.ts";
