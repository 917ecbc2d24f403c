// npm run kills
import { main } from './kills.ts';

await main();
