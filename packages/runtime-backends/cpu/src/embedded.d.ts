declare module "*.wasm.gz" {
  const bytes: Uint8Array<ArrayBuffer>;
  // biome-ignore lint/style/noDefaultExport: what bundlers make of a file of bytes
  export default bytes;
}

declare module "*?text" {
  const code: string;
  // biome-ignore lint/style/noDefaultExport: what bundlers make of a file of text
  export default code;
}
