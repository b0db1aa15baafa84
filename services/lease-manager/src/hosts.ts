import { randomInt } from 'node:crypto';

const ADJECTIVES =
  'amber bold brave bright brisk calm clear clever cool crisp eager early fair fast fine fresh gentle glad golden grand green happy keen kind light lively lucky mellow merry mild misty neat nimble noble plain polite proud quick quiet rapid ready royal rustic sharp shiny silent silver simple smart smooth snowy solid spry steady sunny swift tidy tranquil true vivid warm wild wise young'.split(
    ' ',
  );
const NOUNS =
  'acorn anchor badger beacon birch bison breeze brook canyon cedar cliff cloud comet coral crane creek delta dune eagle ember falcon fern finch fjord forest fox garden glacier harbor hazel heron hill island ivy lagoon lake lark lily maple marsh meadow moon moss oak ocean orchid otter panda pebble pine plover pond prairie quartz raven reef ridge river robin sparrow spruce stone tulip willow'.split(
    ' ',
  );
/** RFC 4648 base 32 in lower case: nothing that people confuse. */
const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567';
const SUFFIX_LENGTH = 6;

const pick = (words: readonly string[]): string => words[randomInt(words.length)] as string;

/** `bold-otter-k3x9qa`: 2^42 labels out of the system's random source, so that nobody guesses one. */
export function createHostLabel(): string {
  const suffix = Array.from({ length: SUFFIX_LENGTH }, () => ALPHABET[randomInt(ALPHABET.length)]).join('');
  return `${pick(ADJECTIVES)}-${pick(NOUNS)}-${suffix}`;
}
