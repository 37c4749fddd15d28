// The Node.js function of the images that tests build: see testimage.Answer.
import fs from "node:fs";

const variables = ["AWS_LAMBDA_FUNCTION_NAME", "LAMBDA_TASK_ROOT", "AWS_REGION", "TESTIMAGE_GREETING"];
const files = ["/etc/testimage/removed", "/etc/testimage/changed", "/usr/local/share/hidden/file"];

function writable() {
  try {
    fs.writeFileSync("/.writable", "", { flag: "wx" });
    fs.unlinkSync("/.writable");
    return true;
  } catch {
    return false;
  }
}

export const handler = async (event) => ({
  event,
  language: "node",
  env: Object.fromEntries(variables.filter((name) => name in process.env).map((name) => [name, process.env[name]])),
  args: process.argv.slice(2),
  cwd: process.cwd(),
  uid: process.getuid(),
  gid: process.getgid(),
  writable: writable(),
  files: Object.fromEntries(files.filter((path) => fs.existsSync(path)).map((path) => [path, fs.readFileSync(path, "utf8")])),
});
