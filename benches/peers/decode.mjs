// One of sinterlm's generations from a model file with llama.cpp (node-llama-cpp's binaries): greedy,
// one text.
//
//     node decode.mjs '{"file": "model.gguf", "prompt": 16, "new": 64, "tokens": 64, "threads": 2,
//         "vocab_size": 49152, "steps": 5}'
//
// Prints one JSON line: the seconds of each run after one that isn't counted, and the process's peak
// memory. Needs `npm install node-llama-cpp` in a folder that NODE_PATH or this folder reaches.

import {createRequire} from "node:module";
import {pathToFileURL} from "node:url";

const task = JSON.parse(process.argv[2]);
const require = createRequire(process.env.PEERS_NODE ? process.env.PEERS_NODE + "/" : import.meta.url);
const {getLlama} = await import(pathToFileURL(require.resolve("node-llama-cpp")));

const llama = await getLlama({gpu: false, build: "never", logLevel: "error"});
const model = await llama.loadModel({modelPath: task.file, gpuLayers: 0});
const context = await model.createContext({
    contextSize: task.prompt + task.new,
    batchSize: Math.max(task.prompt, 16),
    threads: {ideal: task.threads, min: task.threads},
});
const sequence = context.getSequence();
const ids = Array.from({length: task.prompt}, (_, at) => 1 + ((at * 104729) % (task.vocab_size - 1)));
const seconds = [];
for (let run = 0; run <= task.steps; run++) {
    await sequence.clearHistory();
    const started = performance.now();
    let count = 0;
    for await (const _ of sequence.evaluate(ids, {temperature: 0, yieldEogToken: true})) {
        count += 1;
        if (count === task.new) break;
    }
    seconds.push((performance.now() - started) / 1000);
    if (count !== task.new) throw new Error(`${count} tokens in place of ${task.new}`);
}
seconds.shift();
const sorted = [...seconds].sort((a, b) => a - b);
console.log(JSON.stringify({
    bench: task.bench ?? "decode",
    program: `llama.cpp ${llama.llamaCppRelease?.release ?? ""}`.trim(),
    median_seconds: sorted[sorted.length >> 1],
    step_seconds: seconds,
    tokens: task.tokens,
    peak_memory_bytes: process.resourceUsage().maxRSS * 1024,
}));
process.exit(0);
