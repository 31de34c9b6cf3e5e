// What of jamba this page needs, apart from the worker's first code: tabs that do not own the model fetch none of it.

export { loadModel } from "jamba";
