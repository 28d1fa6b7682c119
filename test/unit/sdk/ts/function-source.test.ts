import { describe, expect, it } from 'vitest';
import { type FunctionText, readFunctionSource } from '../../../../sdk/ts/function-source.ts';

describe('the source of a function', () => {
  it('has the only function at its top level as its entry', async () => {
    const source = 'import os\n\ndef ndvi(x):\n    def inner():\n        pass\n    return x\n';
    expect(await readFunctionSource({ source })).toEqual({
      bytes: Buffer.from(source),
      entry: 'ndvi',
    });
  });

  it('has the entry that is named, whatever else is in it', async () => {
    const source = 'def a():\n    pass\n\ndef b():\n    pass\n';
    expect(await readFunctionSource({ source, entry: 'b' })).toMatchObject({ entry: 'b' });
    await expect(readFunctionSource({ source })).rejects.toThrow('but a, b.');
    await expect(readFunctionSource({ source: 'x = 1\n' })).rejects.toThrow('but none.');
  });

  it('is refused when it is not given once, or cannot be read', async () => {
    const both = { source: '', file: 'f.py' } as unknown as FunctionText;
    for (const options of [both, {} as FunctionText, { file: '/nowhere/f.py' }]) {
      await expect(readFunctionSource(options)).rejects.toMatchObject({ code: 'invalid_request' });
    }
    await expect(readFunctionSource({ file: '/nowhere/f.py' })).rejects.toMatchObject({
      cause: expect.objectContaining({ code: 'ENOENT' }),
    });
  });
});
