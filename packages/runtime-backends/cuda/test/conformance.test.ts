import { testOps } from "@jamba/conformance";
import { openCudaBackend } from "../src/index.ts";
import { onStandIn } from "./on-stand-in.ts";

onStandIn((driver) => testOps({ dtypes: ["f32", "q4"], open: () => openCudaBackend({ driver }) }));
