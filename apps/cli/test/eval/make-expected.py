"""Writes expected.json: what lm-evaluation-harness asks of the documents in data/, what the small model says to it, and what it comes to.

    pip install "lm_eval[api]==0.4.13" transformers nltk wonderwords scipy
    node apps/cli/dist/main.js serve tiny --port 8123 &
    python apps/cli/test/eval/make-expected.py http://127.0.0.1:8123

The tasks are the harness's own definitions; only where their documents come from is another.
"""

import importlib.metadata
import json
import sys
import tempfile
from pathlib import Path

import datasets
import lm_eval
from lm_eval.api.metrics import exact_match_hf_evaluate
from lm_eval.tasks import TaskManager

here = Path(__file__).parent
data = here / "data"
definitions = Path(lm_eval.__file__).parent / "tasks"
server = sys.argv[1]

VALID, TEST = ("train", "validation"), ("train", "test")
# name: (definition, folder of documents, splits, numbers of solved examples)
TASKS = {
    "hellaswag": ("hellaswag/hellaswag.yaml", "hellaswag", VALID, [0, 3]),
    "winogrande": ("winogrande/default.yaml", "winogrande/winogrande_xl", VALID, [0, 2]),
    "arc_easy": ("arc/arc_easy.yaml", "ai2_arc/ARC-Easy", TEST, [0, 2]),
    "arc_challenge": ("arc/arc_challenge.yaml", "ai2_arc/ARC-Challenge", TEST, [2]),
    "piqa": ("piqa/piqa.yaml", "piqa", VALID, [0, 2]),
    "boolq": ("super_glue/boolq/default.yaml", "super_glue/boolq", VALID, [0, 2]),
    "gsm8k": ("gsm8k/gsm8k.yaml", "gsm8k/main", TEST, [5]),
    "truthfulqa_mc1": ("truthfulqa/truthfulqa_mc1.yaml", "truthful_qa/multiple_choice", ("validation",), [0]),
    "truthfulqa_mc2": ("truthfulqa/truthfulqa_mc2.yaml", "truthful_qa/multiple_choice", ("validation",), [0]),
    "mmlu_anatomy": ("mmlu/default/mmlu_anatomy.yaml", "mmlu/anatomy", ("dev", "test"), [0, 5]),
    "mmlu_world_religions": ("mmlu/default/mmlu_world_religions.yaml", "mmlu/world_religions", ("dev", "test"), [0]),
}
RULER = {
    "niah_single_1": "niah_single_1",
    "niah_multikey_2": "niah_multikey_2",
    "niah_multikey_3": "niah_multikey_3",
    "ruler_vt": "vt",
    "ruler_cwe": "cwe",
    "ruler_fwe": "fwe",
}
made = [json.loads(line) for line in (data / "ruler.jsonl").read_text().splitlines()]

folder = Path(tempfile.mkdtemp())


def define(name, definition, files, more=None):
    own = {"include": str(definitions / definition), "task": f"own_{name}", "dataset_path": "json", "dataset_name": None}
    own["dataset_kwargs"] = {"data_files": {split: str(file) for split, file in files.items()}}
    # YAML takes JSON.
    (folder / f"own_{name}.yaml").write_text(json.dumps({**own, **(more or {})}))


for name, (definition, place, splits, _) in TASKS.items():
    define(name, definition, {split: data / place / f"{split}.jsonl" for split in splits})
for name, definition in RULER.items():
    docs = [doc for doc in made if doc["task"] == name]
    file = folder / f"{name}.jsonl"
    # It knows few lengths by name, and this is its first.
    file.write_text("\n".join(json.dumps({**doc, "max_length": 4096}) for doc in docs))
    define(name, f"ruler/{definition}.yaml", {"test": file}, {"custom_dataset": None})

manager = TaskManager(include_path=str(folder))


def asked(names, shots, more=""):
    found = lm_eval.simple_evaluate(
        model="local-completions",
        model_args=f"model=tiny,base_url={server}/v1/completions,num_concurrent=1,max_length=262145{more}",
        tasks=[f"own_{name}" for name in names],
        num_fewshot=shots,
        task_manager=manager,
        log_samples=True,
    )
    for name in names:
        samples = {}
        for one in found["samples"][f"own_{name}"]:
            suffix = "" if one["filter"] == "none" else f",{one['filter']}"
            sample = samples.setdefault(one["doc_id"], {"asked": [list(pair)[:2] for pair in one["arguments"]], "measures": {}})
            if isinstance(sample["asked"][0][1], dict):
                sample["asked"] = [sample["asked"][0][0]]
            sample["said"] = [resp[0][0] if not isinstance(resp[0], str) else resp[0] for resp in one["resps"]]
            sample["measures"] |= {metric + suffix: one[metric] for metric in one["metrics"] if one[metric] != -1}
        results = found["results"][f"own_{name}"]
        rows = {}
        for key, value in results.items():
            metric, _, rest = key.partition(",")
            if rest and "_stderr" not in metric:
                stderr = results[f"{metric}_stderr,{rest}"]
                rows[metric if rest == "none" else key] = [value, None if stderr == "N/A" else stderr]
        yield {"task": name, "shots": shots or 0, "samples": [samples[i] for i in sorted(samples)], "rows": rows}


runs = []
for name, (_, _, _, shots) in TASKS.items():
    for count in shots:
        runs += asked([name], count)
for run in asked(list(RULER), 0):
    length = str(next(doc["max_length"] for doc in made if doc["task"] == run["task"]))
    for sample in run["samples"]:
        sample["measures"] = {length: sample["measures"]["4096"]}
    runs.append({**run, "rows": {length: run["rows"]["4096"]}})

# The same documents as the hub has them.
for place in ("ai2_arc/ARC-Easy/test", "truthful_qa/multiple_choice/validation", "hellaswag/validation"):
    file = here / "parquet" / f"{place}-00000-of-00001.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_json(str(data / f"{place}.jsonl"), cache_dir=str(folder)).to_parquet(str(file))

# How a text is judged, on texts that a small model does not write.
texts = [
    "He has 3+4=<<3+4=7>>7 apples.\n#### 7",
    "#### 7.",
    "The answer is $7.00",
    "so 7 apples",
    "#### 1,000 dollars",
    "$1,000.",
    "No number",
    "#### seven, or 7, then 8",
    "-7 and #### -7",
    "It is 3.\n\nQ 1000.00",
]
task = next(iter(lm_eval.tasks.get_task_dict(["own_gsm8k"], manager).values()))
rules = {k: v for k, v in task.config.metric_list[0].items() if k.startswith(("ignore", "regexes"))}
judged = []
for doc in task.test_docs():
    for text in texts:
        measures = {}
        for one in task._filters:
            said = [[text]]
            for part in one.filters:
                said = list(part().apply(said, [doc]))
            measures[f"exact_match,{one.name}"] = float(exact_match_hf_evaluate(predictions=said, references=[doc["answer"]], **rules)["exact_match"])
        judged.append({"question": doc["question"], "text": text, "measures": measures})

version = importlib.metadata.version("lm_eval")
out = {"harness": version, "runs": runs, "judged": judged}
(here / "expected.json").write_text(json.dumps(out, indent=1, ensure_ascii=False) + "\n")
