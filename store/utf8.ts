/**
 * Text as the bytes it will become: sizes are counted without encoding, and text that UTF-8 cannot
 * carry is told apart before it is written as something else.
 *
 * @module
 */

/**
 * The number of bytes `text` takes in UTF-8, counted without allocating. A lone surrogate counts as
 * the three bytes of the replacement character an encoder would write for it.
 */
export function utf8Size(text: string): number {
  const length = text.length;
  let size = length;
  for (let i = 0; i < length; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 0x80) continue;
    if (unit < 0x800) {
      size += 1;
    } else if (isHighSurrogate(unit) && isLowSurrogate(text.charCodeAt(i + 1))) {
      size += 2; // two units become four bytes
      i++;
    } else {
      size += 2;
    }
  }
  return size;
}

/**
 * Whether a control character stands in `text`: U+0000 to U+001F, or U+007F. They would garble
 * logs and terminals that print names.
 */
export function hasControlCharacter(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 0x20 || unit === 0x7f) return true;
  }
  return false;
}

function isHighSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit <= 0xdbff;
}

function isLowSurrogate(unit: number): boolean {
  return unit >= 0xdc00 && unit <= 0xdfff;
}
