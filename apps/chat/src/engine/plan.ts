// Apart from what loads a model: fetched when the first one is looked at.

export { planMemory } from "jamba";
