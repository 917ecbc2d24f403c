// npm run damage
import { main } from './damage.ts';

await main();
