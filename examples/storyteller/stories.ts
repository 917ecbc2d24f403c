// Simple stories from a grammar: an animal with a name, a place and a wish; one of some plots, in which others help or are
// helped; an end. Words are drawn at random and stay the same throughout a story, so that who reads many of them can learn
// to tell new ones.
import { Generator } from '../../runtime/data/generator.ts';

interface Hero {
  readonly name: string;
  readonly kind: string;
  readonly trait: string;
  readonly he: string;
  readonly his: string;
  readonly him: string;
}

const girls = ['Lily', 'Mia', 'Rosie', 'Nora', 'Ella', 'Ruby', 'Daisy', 'Hazel', 'Luna', 'Poppy', 'Molly', 'Sophie'];
const boys = ['Tom', 'Max', 'Ben', 'Leo', 'Oscar', 'Finn', 'Sam', 'Toby', 'Jack', 'Milo', 'Otto', 'Hugo'];
const kinds = [
  'mouse',
  'rabbit',
  'fox',
  'bear',
  'frog',
  'duck',
  'squirrel',
  'kitten',
  'puppy',
  'hedgehog',
  'turtle',
  'lamb',
  'mole',
  'beaver',
];
const traits = ['little', 'brave', 'kind', 'curious', 'shy', 'clever', 'cheerful', 'quiet', 'playful', 'gentle'];
const homes = [
  'in a small house by the river',
  'under an old oak tree',
  'at the edge of a green forest',
  'on a farm near the hills',
  'in a cozy burrow below the meadow',
  'beside a blue lake',
  'in a garden full of flowers',
];
const hobbies = [
  'sing songs',
  'paint pictures',
  'climb trees',
  'dance in the rain',
  'look at the stars',
  'play in the grass',
  'pick flowers',
  'tell jokes',
  'bake cookies',
  'jump over puddles',
];
const days = [
  'One sunny morning',
  'One day',
  'One cold morning',
  'One warm afternoon',
  'One windy day',
  'One spring morning',
];
const toys = [
  'red ball',
  'blue kite',
  'wooden boat',
  'yellow hat',
  'soft blanket',
  'silver bell',
  'green scarf',
  'little drum',
  'golden key',
];
const spots = [
  'under the bed',
  'behind the house',
  'in the tall grass',
  'near the pond',
  'under the bridge',
  'behind a big rock',
  'in the garden',
  'beside the path',
];
const foods = ['apple', 'cookie', 'carrot', 'pear', 'sandwich', 'cake', 'pie', 'muffin'];
const buildings = ['boat', 'swing', 'tree house', 'bridge', 'snowman', 'sand castle', 'tent'];
const fears = ['the dark', 'thunder', 'deep water', 'high places', 'loud noises'];
const seeds = ['sunflower', 'pumpkin', 'tomato', 'strawberry', 'bean'];
const breakables = ['cup', 'vase', 'lamp', 'plate', 'teapot'];
const soups = ['carrot', 'pumpkin', 'tomato', 'potato', 'mushroom'];
const instruments = ['flute', 'violin', 'guitar', 'trumpet', 'drum'];
const praises = ['smiled', 'laughed', 'clapped', 'cheered', 'danced with joy'];

/** Draws of one story. */
class Draw {
  private readonly random: Generator;
  constructor(random: Generator) {
    this.random = random;
  }
  of<T>(list: readonly T[]): T {
    return list[this.random.below(list.length)];
  }
  /** Different ones of a list. */
  some<T>(list: readonly T[], count: number): T[] {
    return this.random
      .randperm(list.length)
      .slice(0, count)
      .map((i) => list[i]);
  }
  heroes(): [Hero, Hero] {
    const [a, b] = this.some(kinds, 2);
    const [first, second] = this.some([...girls, ...boys], 2);
    return [this.hero(first, a), this.hero(second, b)];
  }
  private hero(name: string, kind: string): Hero {
    const isGirl = girls.includes(name);
    const [he, his, him] = isGirl ? ['she', 'her', 'her'] : ['he', 'his', 'him'];
    return { name, kind, trait: this.of(traits), he, his, him };
  }
}

const capital = (text: string): string => text[0].toUpperCase() + text.slice(1);
const a = (noun: string): string => (/^[aeiou]/.test(noun) ? `an ${noun}` : `a ${noun}`);

/** A plot: what happens between the beginning and the end, in paragraphs; the last one tells what was learned. */
type Plot = (draw: Draw, hero: Hero, friend: Hero) => string[];

const lostToy: Plot = (draw, hero, friend) => {
  const toy = draw.of(toys);
  const [first, second, third] = draw.some(spots, 3);
  return [
    `${draw.of(days)}, ${hero.name} could not find ${hero.his} ${toy}. ${capital(hero.he)} looked ${first}, but the ${toy} was not there. ${capital(hero.he)} looked ${second}, but it was not there. ${hero.name} was very sad and began to cry.`,
    `A ${friend.kind} named ${friend.name} came by. "Why are you crying?" asked ${friend.name}. "I lost my ${toy}," said ${hero.name}. "Do not worry," said ${friend.name}. "I will help you look for it."`,
    `They looked together for a long time. At last, ${friend.name} saw something ${third}. It was the ${toy}! ${hero.name} gave ${friend.name} a big hug. "Thank you," ${hero.he} said. "You are a good friend."`,
    `From that day on, ${hero.name} and ${friend.name} played with the ${toy} together every day.`,
  ];
};

const sharing: Plot = (draw, hero, friend) => {
  const food = draw.of(foods);
  return [
    `${draw.of(days)}, ${hero.name} found ${a(food)} ${draw.of(spots)}. It looked very good. ${hero.name} wanted to eat it all.`,
    `Then ${hero.he} saw a ${friend.kind}. The ${friend.kind} was called ${friend.name}, and ${friend.he} looked hungry. "I have not eaten all day," said ${friend.name}. ${hero.name} looked at the ${food} and thought for a moment.`,
    `"We can share it," said ${hero.name}. ${capital(hero.he)} gave half of the ${food} to ${friend.name}. They sat in the sun and ate. ${friend.name} ${draw.of(praises)}. "This is the best ${food} in the world," ${friend.he} said.`,
    `${hero.name} was happy too. ${capital(hero.he)} learned that food tastes better when you share it with a friend.`,
  ];
};

const fear: Plot = (draw, hero, friend) => {
  const thing = draw.of(fears);
  return [
    `But ${hero.name} had a secret. ${capital(hero.he)} was afraid of ${thing}. ${draw.of(days)}, ${hero.he} told ${hero.his} friend ${friend.name}, the ${friend.kind}. ${hero.name} thought that ${friend.name} would laugh.`,
    `But ${friend.name} did not laugh. "Everyone is afraid of something," said ${friend.name}. "When I am afraid, I hold the hand of a friend." So ${hero.name} took ${friend.his} hand.`,
    `Soon they had to be very brave, because of ${thing}. ${hero.name} wanted to run away. But ${friend.name} was there, and ${hero.he} took a deep breath. After a while, ${hero.he} was not afraid anymore.`,
    `"You did it!" said ${friend.name}. ${hero.name} was proud. ${capital(hero.he)} learned that it is easy to be brave with a friend.`,
  ];
};

const building: Plot = (draw, hero, friend) => {
  const thing = draw.of(buildings);
  return [
    `${draw.of(days)}, ${hero.name} wanted to build a ${thing}. ${capital(hero.he)} worked all morning, but it was too hard. The ${thing} fell down again and again. "I will never finish it," said ${hero.name}.`,
    `${friend.name} the ${friend.kind} heard ${hero.him}. "Can I help you?" asked ${friend.name}. At first, ${hero.name} wanted to say no. But then ${hero.he} said, "Yes, please. I cannot do it alone."`,
    `They worked together until the sun went down. ${friend.name} held the parts and ${hero.name} put them in the right place. In the evening, the ${thing} was ready. It was big and strong. All the animals came to see it and ${draw.of(praises)}.`,
    `"We make a good team," said ${hero.name}. And ${hero.he} was right.`,
  ];
};

const storm: Plot = (draw, hero, friend) => [
  `${draw.of(days)}, ${hero.name} went for a long walk. Suddenly, the sky turned gray and it began to rain. The wind was loud and the trees shook. ${hero.name} was wet and cold, and ${hero.he} could not find the way home.`,
  `Then ${hero.he} saw a light. It came from a tiny house. ${hero.name} knocked on the door. A ${friend.kind} opened it. "Come in," said the ${friend.kind}. "My name is ${friend.name}. You can stay here until the rain stops."`,
  `${friend.name} gave ${hero.name} a warm blanket and a cup of soup. They sat by the fire and told stories. When the rain stopped, there was a rainbow in the sky. ${friend.name} showed ${hero.name} the way home.`,
  `${hero.name} never forgot how kind ${friend.name} was. The next day, ${hero.he} came back with ${a(draw.of(foods))} to say thank you.`,
];

const race: Plot = (draw, hero, friend) => [
  `${draw.of(days)}, there was a big race in the village. ${hero.name} wanted to win. ${capital(hero.he)} ran every day to get ready. ${friend.name}, a fast ${friend.kind}, wanted to win too.`,
  `The race began. ${hero.name} ran as fast as the wind. ${friend.name} was right behind ${hero.him}. But near the end, ${friend.name} fell and hurt ${friend.his} foot. "Ouch!" cried ${friend.name}.`,
  `${hero.name} could see the finish line. But ${hero.he} stopped, turned around and went back. "Hold on to me," said ${hero.name}. They walked to the finish line together, step by step. Everyone ${draw.of(praises)}.`,
  `${hero.name} did not win the race. But ${hero.he} won a new friend, and that was much better.`,
];

const garden: Plot = (draw, hero, friend) => {
  const seed = draw.of(seeds);
  return [
    `${draw.of(days)}, ${hero.name} got a ${seed} seed from ${friend.name}, an old ${friend.kind}. "Put it in the ground and give it water every day," said ${friend.name}. ${hero.name} did what ${friend.name} said.`,
    `The first day, nothing happened. The second day, nothing happened. "It does not work," said ${hero.name}. ${capital(hero.he)} wanted to give up. But ${friend.name} said, "Good things need time. Wait and see."`,
    `So ${hero.name} waited. ${capital(hero.he)} gave the seed water and sang to it. Then, one morning, there was a tiny green leaf. It grew and grew. Soon ${hero.name} had the biggest ${seed} plant of all.`,
    `${hero.name} ran to ${friend.name} and ${draw.of(praises)}. ${capital(hero.he)} learned that it is good to wait.`,
  ];
};

const birthday: Plot = (draw, hero, friend) => {
  const toy = draw.of(toys);
  return [
    `${draw.of(days)}, ${hero.name} woke up and was very happy. It was ${hero.his} birthday! But nobody said anything. ${hero.name} went to see ${hero.his} friend ${friend.name}, the ${friend.kind}. ${friend.name} was not at home.`,
    `${hero.name} walked through the village. The streets were empty. "They all forgot my birthday," said ${hero.name}. ${capital(hero.he)} went home slowly and opened the door.`,
    `"Surprise!" everyone shouted. All ${hero.his} friends were there. There was a big cake on the table. ${friend.name} gave ${hero.name} a ${toy}. "We did not forget you," said ${friend.name}. "We wanted to surprise you."`,
    `${hero.name} ${draw.of(praises)}. It was the best birthday ever.`,
  ];
};

const honesty: Plot = (draw, hero, friend) => {
  const thing = draw.of(breakables);
  return [
    `${draw.of(days)}, ${hero.name} visited ${hero.his} friend ${friend.name}, the ${friend.kind}. They played and ran around the table. Then there was a loud crash. ${hero.name} had broken the ${thing}!`,
    `${friend.name} was in the kitchen and did not see it. ${hero.name} was scared. "What should I do?" ${hero.he} thought. ${capital(hero.he)} wanted to hide the ${thing} ${draw.of(spots)}.`,
    `But ${hero.name} went to ${friend.name} and told the truth. "I broke your ${thing}. I am very sorry," said ${hero.name}. ${friend.name} was sad, but not angry. "Thank you for telling me," said ${friend.name}. "We can fix it together."`,
    `They used some glue, and soon the ${thing} looked almost new. ${hero.name} learned that it is always better to tell the truth.`,
  ];
};

const soup: Plot = (draw, hero, friend) => [
  `${draw.of(days)}, ${hero.name} went to play with ${hero.his} friend ${friend.name}, the ${friend.kind}. But ${friend.name} was sick and had to stay in bed. "I feel so bad," said ${friend.name}.`,
  `${hero.name} wanted to help. ${capital(hero.he)} ran home and cooked a big pot of ${draw.of(soups)} soup. ${capital(hero.he)} carried it slowly and did not spill a drop.`,
  `${friend.name} ate all the soup. It was warm and good. Then ${hero.name} told a funny story, and ${friend.name} ${draw.of(praises)}. "I feel better already," said ${friend.name}.`,
  `The next day, ${friend.name} was well again. ${hero.name} and ${friend.name} played outside until it was dark.`,
];

const wish: Plot = (draw, hero, friend) => {
  const toy = draw.of(toys);
  return [
    `One night, ${hero.name} saw a falling star. "I wish I had a ${toy}," said ${hero.name}. ${capital(hero.he)} waited and waited, but nothing happened.`,
    `${draw.of(days)}, ${hero.name} met a ${friend.kind} named ${friend.name}. ${friend.name} was new in the village and had no friends. "Do you want to play with me?" asked ${hero.name}. ${friend.name} smiled and said yes.`,
    `They played all day. In the evening, ${friend.name} gave ${hero.name} a small box. There was a ${toy} in it! "How did you know?" asked ${hero.name}. "I did not know," said ${friend.name}. "It is my way to say thank you."`,
    `${hero.name} looked up at the stars. ${capital(hero.he)} had a ${toy} now. But the best gift was ${hero.his} new friend.`,
  ];
};

const music: Plot = (draw, hero, friend) => {
  const instrument = draw.of(instruments);
  return [
    `${draw.of(days)}, ${hero.name} found an old ${instrument} ${draw.of(spots)}. ${capital(hero.he)} tried to play it, but it sounded terrible. The birds flew away. "I cannot play," said ${hero.name}.`,
    `${friend.name}, a wise ${friend.kind}, heard the noise. "Nobody can play on the first day," said ${friend.name}. "I will teach you. But you have to practice every morning."`,
    `So ${hero.name} practiced every morning. At first, it was hard. But the ${instrument} sounded better and better. One evening, ${hero.name} played a song for all the animals. They ${draw.of(praises)}. Even the birds came back.`,
    `"You are a real musician now," said ${friend.name}. ${hero.name} was very proud of ${hero.his} song.`,
  ];
};

const plots: readonly Plot[] = [
  lostToy,
  sharing,
  fear,
  building,
  storm,
  race,
  garden,
  birthday,
  honesty,
  soup,
  wish,
  music,
];

/** A story as text, in paragraphs. */
export function tellStory(random: Generator): string {
  const draw = new Draw(random);
  const [hero, friend] = draw.heroes();
  const opening = draw.of([
    `Once upon a time, there was a ${hero.trait} ${hero.kind} named ${hero.name}. ${capital(hero.he)} lived ${draw.of(homes)}. ${hero.name} loved to ${draw.of(hobbies)}.`,
    `Once upon a time, a ${hero.trait} ${hero.kind} lived ${draw.of(homes)}. ${capital(hero.his)} name was ${hero.name}. Every day, ${hero.he} liked to ${draw.of(hobbies)}.`,
    `There once was a ${hero.kind} called ${hero.name}. ${capital(hero.he)} was very ${hero.trait} and lived ${draw.of(homes)}. ${hero.name} loved to ${draw.of(hobbies)}.`,
  ]);
  return [opening, ...draw.of(plots)(draw, hero, friend), 'The end.'].join('\n');
}

/** Many stories; the same ones for the same seed. */
export function tellStories(count: number, seed: number): string[] {
  const random = new Generator(seed);
  return Array.from({ length: count }, () => tellStory(random));
}
