// A linktrail of the script's own, and a page that short links lead to.

import { execFile, spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const binary = "bin/linktrail";
const startTime = 60_000; // milliseconds
const stopTime = 60_000;

/** start runs `linktrail up` and returns once it has printed the console's address. */
export async function start() {
  const data = await mkdtemp(join(tmpdir(), "linktrail-console-"));
  const up = spawn(binary, ["up", "--data", data, "--addr", "127.0.0.1:0", "--api-addr", "127.0.0.1:0"], { stdio: ["ignore", "pipe", "pipe"] });
  let printed = "";
  const ended = new Promise((resolve) => up.once("exit", resolve));
  const console = await new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`linktrail up is not ready:\n${printed}`)), startTime);
    up.once("error", reject);
    up.once("exit", (code) => reject(new Error(`linktrail up ended with ${code}:\n${printed}`)));
    for (const stream of [up.stdout, up.stderr]) {
      stream.on("data", (text) => {
        printed += text;
        const address = /http:\/\/\S+\/#key=\S+/.exec(printed);
        if (address && printed.includes("Ctrl-C stops it")) {
          clearTimeout(timer);
          resolve(address[0]);
        }
      });
    }
  }).catch(async (error) => {
    up.kill("SIGINT");
    await ended;
    await rm(data, { recursive: true, force: true });
    throw error;
  });
  const run = JSON.parse(await readFile(join(data, "run.json"), "utf8"));
  return {
    console,
    api: run.api,
    door: run.url,
    key: run.api_key,
    /** linktrail runs a command on the system and returns what it printed. */
    async linktrail(...args) {
      const { stdout } = await promisify(execFile)(binary, [...args, "--data", data]);
      return stdout;
    },
    async stop() {
      up.kill("SIGINT");
      const late = setTimeout(() => up.kill("SIGKILL"), stopTime);
      const code = await ended;
      clearTimeout(late);
      await rm(data, { recursive: true, force: true });
      if (code !== 0) throw new Error(`linktrail up ended with ${code}:\n${printed}`);
    },
  };
}

/** landing serves a page for short links to lead to, so that no visit leaves this machine. */
export async function landing() {
  const server = createServer((request, response) => {
    response.setHeader("Content-Type", "text/html");
    response.end("<!doctype html><html lang=en><title>Landed</title><link rel=icon href=data:,><p>Landed.</p>");
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    address: `http://127.0.0.1:${server.address().port}/landing`,
    stop: () => new Promise((resolve) => {
      server.close(resolve);
      server.closeAllConnections();
    }),
  };
}
