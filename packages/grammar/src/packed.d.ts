declare module "*.wasm.gz" {
  const bytes: Uint8Array;
  // biome-ignore lint/style/noDefaultExport: what bundlers make of a file of bytes
  export default bytes;
}
