// Uses a finished run as a user of llama.cpp would: exported to GGUF files, loaded by node-llama-cpp's
// binaries, continued greedily.
//
//     node llama_cpp.mjs RUN EXPORT GENERATE
//
// RUN is a run directory, EXPORT and GENERATE are the compiled examples. In F32 the continuations of some
// prompts have to be our tokens; in Q8_0, where llama.cpp rounds activations too, it is told how many are. Needs `npm install node-llama-cpp` in the folder that PEERS_NODE names, or beside this file.

import {execFileSync} from "node:child_process";
import {existsSync, mkdtempSync, rmSync} from "node:fs";
import {createRequire} from "node:module";
import {tmpdir} from "node:os";
import {join} from "node:path";
import {pathToFileURL} from "node:url";

const PROMPTS = ["Once upon a time", "The little dog", '"Look!" said the girl. She', "12 eggs\n\nand 3.5 loaves"];
const NEW_TOKENS = 40;

const [run, exporter, generate] = process.argv.slice(2);
for (const program of [exporter, generate]) {
    if (!existsSync(program)) {
        console.log(`skipped: llama.cpp: ${program} is not there; cargo build --release --examples`);
        process.exit(0);
    }
}
const require = createRequire(process.env.PEERS_NODE ? process.env.PEERS_NODE + "/" : import.meta.url);
const {getLlama} = await import(pathToFileURL(require.resolve("node-llama-cpp")));
const llama = await getLlama({gpu: false, build: "never", logLevel: "error"});

/** The ids of our greedy continuation. */
function ours(file, prompt) {
    const options = ["--temperature", "0", "--max-new-tokens", String(NEW_TOKENS), "--device", "flex"];
    const command = ["--model", file, "--prompt", prompt, "--quiet", "--logprobs", ...options];
    const lines = execFileSync(generate, command).toString().matchAll(/^0\t(\d+)\t-?[\d.]+\t".*"$/gm);
    return [...lines].map((line) => Number(line[1]));
}

/** Those of llama.cpp, on one thread: more of them spin against what else runs. */
async function theirs(model, prompt) {
    const ids = model.tokenize(prompt, false);
    if (model.tokens.shouldPrependBosToken) ids.unshift(model.tokens.bos);
    const context = await model.createContext({contextSize: ids.length + NEW_TOKENS, threads: 1});
    const tokens = [];
    for await (const token of context.getSequence().evaluate(ids, {temperature: 0, yieldEogToken: true})) {
        tokens.push(token);
        if (model.isEogToken(token) || tokens.length === NEW_TOKENS) break;
    }
    await context.dispose();
    return tokens;
}

let failed = false;
const folder = mkdtempSync(join(tmpdir(), "interop-"));
try {
    for (const type of ["f32", "q8_0"]) {
        const file = join(folder, `${type}.gguf`);
        try {
            execFileSync(exporter, ["--model", run, "--to", file, "--dtype", type, "--quiet"], {stdio: "pipe"});
        } catch (error) {
            const says = error.stderr.toString().trim();
            if (!says.includes("llama.cpp has no")) throw error;
            console.log(`skipped: ${says}`);
            break;
        }
        const model = await llama.loadModel({modelPath: file, gpuLayers: 0});
        let [equal, tokens] = [0, 0];
        for (const prompt of PROMPTS) {
            const [found, wanted] = [ours(file, prompt), await theirs(model, prompt)];
            const parting = wanted.findIndex((token, at) => token !== found[at]);
            equal += parting < 0 ? wanted.length : parting;
            tokens += wanted.length;
            if (type === "f32" && (parting >= 0 || found.length !== wanted.length)) {
                failed = true;
                console.error(`llama.cpp, ${type}, ${JSON.stringify(prompt)}:\n  ours   ${found}\n  theirs ${wanted}`);
            }
        }
        const release = llama.llamaCppRelease?.release ?? "";
        console.log(`llama.cpp ${release}: ${type}: ${equal} of ${tokens} greedy tokens after ${PROMPTS.length} prompts equal ours`);
        await model.dispose();
    }
} finally {
    rmSync(folder, {recursive: true});
}
process.exit(failed ? 1 : 0);
