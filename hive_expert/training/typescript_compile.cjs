// Type-checks TypeScript and translates it. One JSON line in, one out:
//   {"programs": [{"code": "…", "tests": "…"}]} -> {"results": [{"errors": ["…"], "js": "…"}]}
// Nothing of the programs is run here. argv: the folder of the typescript package.
"use strict";
const path = require("path");
const readline = require("readline");
const folder = process.argv[2];
const ts = require(folder);

const MAX_ERRORS = 5;
const HARNESS = `
declare function expectEqual(actual: unknown, expected: unknown): void;
declare function expectThrows(act: () => unknown): void;
declare function expectResolves(promise: Promise<unknown>, expected: unknown): void;
type Equal<A, B> =
  (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false;
declare const console: { log(...values: unknown[]): void; error(...values: unknown[]): void };
`;
const options = {
  strict: true,
  target: ts.ScriptTarget.ES2022,
  module: ts.ModuleKind.CommonJS,
  lib: ["lib.es2022.d.ts"],
  types: [],
  newLine: ts.NewLineKind.LineFeed,
  noLib: false,
};

const libraries = new Map();
function library(name) {
  if (!libraries.has(name)) {
    const text = ts.sys.readFile(path.join(folder, "lib", path.basename(name)));
    const file = text === undefined ? undefined : ts.createSourceFile(name, text, options.target);
    libraries.set(name, file);
  }
  return libraries.get(name);
}
const harness = ts.createSourceFile("/harness.d.ts", HARNESS, options.target);

function compile(programs) {
  const sources = new Map([["/harness.d.ts", harness]]);
  programs.forEach((program, i) => {
    const text = program.code + "\n" + program.tests + "\nexport {};\n"; // a module, not a script
    sources.set(`/${i}.ts`, ts.createSourceFile(`/${i}.ts`, text, options.target, true));
  });
  const written = new Map();
  const host = {
    getSourceFile: (name) => sources.get(name) ?? (name.startsWith("/lib/") ? library(name) : undefined),
    getDefaultLibFileName: () => "/lib/lib.es2022.d.ts",
    getDefaultLibLocation: () => "/lib",
    writeFile: (name, text) => written.set(name, text),
    getCurrentDirectory: () => "/",
    getCanonicalFileName: (name) => name,
    useCaseSensitiveFileNames: () => true,
    getNewLine: () => "\n",
    // Nothing can be imported: the answer is one file.
    fileExists: (name) => sources.has(name),
    readFile: () => undefined,
    resolveModuleNames: (names) => names.map(() => undefined),
    directoryExists: () => false,
    getDirectories: () => [],
  };
  const program = ts.createProgram([...sources.keys()], options, host);
  return programs.map((_, i) => {
    const file = sources.get(`/${i}.ts`);
    const found = [
      ...program.getSyntacticDiagnostics(file),
      ...program.getSemanticDiagnostics(file),
    ];
    const errors = found.slice(0, MAX_ERRORS).map((d) => {
      const line = ts.getLineAndCharacterOfPosition(file, d.start ?? 0).line + 1;
      return `${line}: ${ts.flattenDiagnosticMessageText(d.messageText, " ")}`;
    });
    if (errors.length === 0) program.emit(file);
    return { errors, js: written.get(`/${i}.js`) ?? "" };
  });
}

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  process.stdout.write(JSON.stringify({ results: compile(JSON.parse(line).programs) }) + "\n");
});
