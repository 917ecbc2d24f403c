// What tests write lies in one folder of its own, which goes when the run ends, whatever a test that failed left behind.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Vitest's global set-up: os.tmpdir() is a new folder for every worker of this run. Returns the tear-down. */
export default function scratch(): () => void {
  const folder = mkdtempSync(join(tmpdir(), 'modelc-tests-'));
  process.env.TMPDIR = folder;
  return () => rmSync(folder, { recursive: true, force: true });
}
