/**
 * The files that tasks were given lazily, as the kernel may ask for them: a folder per namespace,
 * below it one per grant, in it the file. Numbers and names are never used again, so what the
 * kernel remembers of a grant that ended leads nowhere.
 */
import type { NamespaceName } from '../../../protocol/wire/ids.ts';
import type { AssetVersion } from '../port.ts';
import type { FuseNode } from './frames.ts';

export interface LazyFile extends FuseNode {
  sizeBytes: number;
  version: AssetVersion;
  namespace: NamespaceName;
  name: string;
  /** Why the last read of it failed; null while all went well. */
  failure: Error | null;
}

interface Folder extends FuseNode {
  sizeBytes: null;
  children: Map<string, Folder | LazyFile>;
}

const rootNode = 1;

export class FuseTree {
  readonly #root: Folder = { node: rootNode, sizeBytes: null, children: new Map() };
  /** By number; all and only what is in the tree. */
  readonly #nodes = new Map<number, Folder | LazyFile>([[rootNode, this.#root]]);
  #nodesCount = rootNode;
  #grantsCount = 0;

  /** Makes sure that a namespace has its folder, whose name is the namespace's. */
  addNamespace(namespace: NamespaceName): void {
    if (!this.#root.children.has(namespace)) this.#addFolder(this.#root, namespace);
  }

  /** Adds a file; answers it with its path below the namespace's folder. */
  add(
    version: AssetVersion,
    options: { namespace: NamespaceName; name: string },
  ): { file: LazyFile; path: string } {
    const { namespace, name } = options;
    this.addNamespace(namespace);
    const parent = this.#root.children.get(namespace);
    if (parent === undefined || !('children' in parent)) throw new Error('a namespace is a folder');
    this.#grantsCount += 1;
    const folderName = String(this.#grantsCount);
    const folder = this.#addFolder(parent, folderName);
    this.#nodesCount += 1;
    const { sizeBytes } = version;
    const file: LazyFile = {
      node: this.#nodesCount,
      sizeBytes,
      version,
      namespace,
      name: folderName,
      failure: null,
    };
    folder.children.set(name, file);
    this.#nodes.set(file.node, file);
    return { file, path: `${folderName}/${name}` };
  }

  /** Takes a file away; idempotent. */
  remove(file: LazyFile): void {
    const parent = this.#root.children.get(file.namespace);
    if (parent === undefined || !('children' in parent)) return;
    const folder = parent.children.get(file.name);
    if (folder === undefined) return;
    parent.children.delete(file.name);
    this.#nodes.delete(folder.node);
    this.#nodes.delete(file.node);
  }

  find(node: number): FuseNode | undefined {
    return this.#nodes.get(node);
  }

  findFile(node: number): LazyFile | undefined {
    const found = this.#nodes.get(node);
    return found !== undefined && 'version' in found ? found : undefined;
  }

  lookup(parent: number, name: string): FuseNode | undefined {
    const found = this.#nodes.get(parent);
    return found !== undefined && 'children' in found ? found.children.get(name) : undefined;
  }

  #addFolder(parent: Folder, name: string): Folder {
    this.#nodesCount += 1;
    const folder: Folder = { node: this.#nodesCount, sizeBytes: null, children: new Map() };
    parent.children.set(name, folder);
    this.#nodes.set(folder.node, folder);
    return folder;
  }
}
