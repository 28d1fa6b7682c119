/** Text on a terminal: its width, its cut, and nothing in it that the terminal would obey. */
import { styleText } from 'node:util';

/** The styles in use; a state is never told by its colour alone. */
export type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'blue' | 'magenta';

/** The text in a style, or as it is when colours are off. */
export function paint(text: string, style: Style | undefined, colors: boolean): string {
  if (style === undefined || !colors) return text;
  // The caller has decided; styleText's own look at the stream would decide again.
  return styleText(style, text, { validateStream: false });
}

/**
 * The text on one line, with control characters shown instead of obeyed: names and messages come
 * from users' code, and must not move the cursor or change the title.
 */
export function oneLine(text: string): string {
  return text.replace(/\s*\n\s*/g, ' ↵ ').replace(controlCharacters, showControl);
}

/** As `oneLine`, but lines and tabs stay. */
export function plainLines(text: string): string {
  return text.replace(/\r\n/g, '\n').replace(controlButLines, showControl);
}

/** How many columns a text takes. */
export function widthOf(text: string): number {
  let width = 0;
  for (const character of text) width += widthOfCharacter(character);
  return width;
}

/** The text in at most `columns` columns, `…` in place of what is cut. */
export function cut(text: string, columns: number): string {
  if (widthOf(text) <= columns) return text;
  let kept = '';
  let width = 0;
  for (const character of text) {
    const next = width + widthOfCharacter(character);
    if (next > columns - 1) break;
    kept += character;
    width = next;
  }
  return `${kept}…`;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what this is about
const controlCharacters = /[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what this is about
const controlButLines = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;

function showControl(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  return code < 0x20 ? String.fromCodePoint(0x2400 + code) : '�';
}

function widthOfCharacter(character: string): number {
  const code = character.codePointAt(0) ?? 0;
  if (/\p{Mark}/u.test(character)) return 0;
  return code >= 0x1100 && wideCharacters.test(character) ? 2 : 1;
}

/** East Asian wide ranges and emoji: the common ones, which is enough for names and messages. */
const wideCharacters =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u;
