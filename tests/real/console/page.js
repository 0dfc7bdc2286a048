// Uses every element of the console in a headless Chromium, and takes pictures.
//
//   node page.js ADDRESS#TOKEN DIRECTORY
//
// Prints one JSON line: what each step saw. Whatever the page loads or runs beyond its own files is an error.
"use strict";
const { chromium } = require("playwright-core");

const [address, directory] = process.argv.slice(2);

async function main() {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox"] });
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  const problems = [];
  page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
  page.on("pageerror", (error) => problems.push(String(error)));
  const seen = {};
  const said = () => page.textContent("#state");
  const until = (text) => page.waitForFunction((text) => document.getElementById("state").textContent.includes(text), text);
  const confirm = async (answer) => {
    await page.waitForSelector("#ask[open]");
    seen.question = await page.textContent("#ask-text");
    await page.click(`#ask button[value=${answer}]`);
  };

  await page.goto(address);
  await page.waitForSelector("#failures table");
  seen.hash = new URL(page.url()).hash;
  seen.version = await page.textContent("#version");
  seen.state = await said();
  const rows = (id) => page.$$eval(`#${id} tbody tr`, (lines) => lines.map((line) => line.innerText.replace(/\s+/g, " ")));
  for (const id of ["failures", "credentials", "sessions", "clients", "parts", "listeners"]) seen[id] = await rows(id);
  // The charts have lines after three samples.
  await page.waitForFunction(() => (document.querySelector("#chart-time polyline")?.getAttribute("points") || "").split(" ").length >= 2);
  seen.charts = await page.$$eval("svg", (charts) => charts.map((one) => one.getAttribute("aria-label")));
  for (const scheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme: scheme });
    for (const width of [1280, 400]) {
      await page.setViewportSize({ width, height: 900 });
      await page.screenshot({ path: `${directory}/console-${width}-${scheme}.png`, fullPage: true });
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      if (wide > 0) problems.push(`the page is ${wide} px wider than ${width}`);
    }
  }
  await page.setViewportSize({ width: 1280, height: 900 });

  // By keyboard alone: to the content, and to the first button.
  await page.evaluate(() => document.activeElement.blur());
  await page.keyboard.press("Tab");
  seen.first = await page.evaluate(() => document.activeElement.textContent);
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await until("no key has changed");
  await page.click("#refresh");
  await until("All PATs were read again");
  await page.click("#credentials button");
  await confirm("no");
  seen.retry = seen.question;
  await page.click("#credentials button");
  await confirm("yes");
  await until("are forgotten");
  const before = (await rows("sessions")).length;
  await page.click("#sessions button");
  await confirm("yes");
  await until("1 session ended");
  await page.waitForFunction((before) => document.querySelectorAll("#sessions tbody tr").length < before, before);
  await page.click("#clients button");
  await confirm("yes");
  await until("sessions ended");
  await page.waitForFunction(() => document.querySelector("#sessions").textContent.includes("No session"));

  // A token that was used is not good again; the form takes another.
  const form = await browser.newPage();
  await form.goto(address);
  await form.waitForFunction(() => document.getElementById("state").textContent.includes("not good any more"));
  seen.locked = await form.isVisible("#unlock");
  await form.close();

  // From here on the page may ask a gate that is gone already.
  const before_the_end = problems.slice();
  await page.click("#drain");
  await confirm("yes");
  await until("drains and stops");
  await browser.close();
  // The used token's own answer is an error to the browser too, on the other page alone.
  process.stdout.write(`${JSON.stringify({ seen, problems: before_the_end })}\n`);
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
