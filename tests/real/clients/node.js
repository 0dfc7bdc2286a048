// The Node driver as a test client; the contract is in ../README.md.
// NODE_PATH names the directory the driver is installed in.
'use strict';

const { spawnSync } = require('node:child_process');
const { performance } = require('node:perf_hooks');

const env = process.env;
// Node reads this once, before any script, so the process starts itself again.
if (env.NODE_EXTRA_CA_CERTS !== env.GATE_CA) {
  const again = spawnSync(process.execPath, process.argv.slice(1), {
    stdio: 'inherit',
    env: { ...env, NODE_EXTRA_CA_CERTS: env.GATE_CA },
  });
  process.exit(again.status ?? 1);
}

const snowflake = require('snowflake-sdk');

const ROWS = "select repeat('x', 100) as c from table(generator(rowcount => 100000))";
let step = 'connect';

function connection() {
  const how = {
    password: { password: env.GATE_KEY },
    pat: { authenticator: 'PROGRAMMATIC_ACCESS_TOKEN', token: env.GATE_KEY },
    foreign: { authenticator: 'OAUTH', token: env.GATE_KEY },
  }[env.GATE_HOW];
  // The driver logs to stdout and a file by itself; stdout is for the answer.
  snowflake.configure({
    disableOCSPChecks: true,
    logLevel: 'OFF',
    additionalLogToConsole: false,
    logFilePath: 'STDOUT',
  });
  return snowflake.createConnection({
    account: 'any',
    accessUrl: `https://${env.GATE_HOST}:${env.GATE_PORT}`,
    username: env.GATE_USER,
    role: env.GATE_ROLE,
    sfRetryMaxLoginRetries: 1,
    ...how,
  });
}

// The driver's calls take a callback(error, ...) as their last argument.
const promise = (call) =>
  new Promise((done, fail) => call((error, value) => (error ? fail(error) : done(value))));

const rows = (con, sqlText) =>
  new Promise((done, fail) =>
    con.execute({ sqlText, complete: (error, _, all) => (error ? fail(error) : done(all)) }),
  );

async function one(con, sqlText, wanted) {
  const value = Object.values((await rows(con, sqlText))[0])[0];
  if (value !== wanted) throw new Error(`${sqlText}: ${JSON.stringify(value)}`);
  return value;
}

async function session(con, steps) {
  step = 'select';
  steps.select = await one(con, 'SELECT 1', 1);
  step = 'rows';
  const all = await rows(con, ROWS);
  steps.rows = [all.length, all.reduce((sum, row) => sum + row.C.length, 0)];
  step = 'renewed';
  await rows(con, "select 'standin:expire'");
  steps.renewed = await one(con, 'SELECT 2', 2);
  step = 'heartbeat';
  await promise((callback) => con.heartbeat(callback));
  steps.heartbeat = true;
}

async function run() {
  const steps = {};
  const start = performance.now();
  const con = connection();
  await promise((callback) => con.connect(callback));
  steps.connect = Math.round(performance.now() - start);
  if (process.argv[2] === 'session') await session(con, steps);
  if (process.argv[2] === 'wait') {
    step = 'wait';
    process.stdout.write('{"ready":true}\n');
    await new Promise((done) => process.stdin.once('data', done));
    step = 'select';
    steps.select = await one(con, 'SELECT 1', 1);
  }
  step = 'close';
  await promise((callback) => con.destroy(callback));
  steps.close = true;
  return { ok: true, steps };
}

function failed(error) {
  const texts = [];
  for (let e = error; e; e = e.cause) texts.push(e.code ? `${e.code}: ${e.message}` : e.message);
  return { ok: false, step, error: texts.join('\n'), kind: error.name };
}

// The connection pool would keep the process alive for a while.
const say = (answer) =>
  process.stdout.write(JSON.stringify(answer) + '\n', () => process.exit(0));

// The driver may drop a callback, and then nothing is left to wait for.
process.once('beforeExit', () => say(failed(new Error('the driver never answered'))));
run().catch(failed).then(say);
