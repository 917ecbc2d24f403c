// Runs a command where an emulation takes the place of the CUDA driver and of nvcc, so that it works without a GPU, slowly:
// npm run emulated -- COMMAND…
import { spawnSync } from 'node:child_process';
import { emulate } from '../../../bench/emulation.ts';

const [command, ...args] = process.argv.slice(2);
if (!command) {
  console.error('usage: npm run emulated -- COMMAND…');
  process.exit(1);
}
await emulate();
const { status, error } = spawnSync(command, args, { stdio: 'inherit' });
if (error) console.error(`${command} cannot be run: ${error.message}`);
process.exitCode = status ?? 1;
