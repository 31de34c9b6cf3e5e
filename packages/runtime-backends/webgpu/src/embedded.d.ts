declare module "*.wgsl" {
  const code: string;
  // biome-ignore lint/style/noDefaultExport: what bundlers make of a file of text
  export default code;
}
