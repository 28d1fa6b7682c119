"""Hooks with which the field's tools read assets by `perigee.imagery.open`.

``odc.stac.load(items, patch_url=hooks.patch_url)`` and
``pystac_client.Client.open(url, modifier=hooks.modifier)``.
"""
from perigee import imagery


def patch_url(href):
    """The local path of an asset: what odc-stac's ``patch_url`` wants.

    Raises
    ------
    PerigeeError
        As `perigee.imagery.open`.
    """
    return imagery.open(href)


def modifier(found):
    """Gives every asset of an item, or of the items of a collection of items, its local path, in place.

    Parameters
    ----------
    found : pystac.Item, pystac.ItemCollection, pystac.Collection or dict
        What pystac-client hands to its ``modifier``; a Collection is left as it is.
    """
    if isinstance(found, dict):
        items = found.get('features', [found] if found.get('type') == 'Feature' else [])
        for item in items:
            for asset in item.get('assets', {}).values():
                asset['href'] = patch_url(asset['href'])
        return
    if hasattr(found, 'items') and not callable(found.items):
        items = found.items
    else:
        items = [found] if hasattr(found, 'geometry') else []
    for item in items:
        for asset in item.assets.values():
            asset.href = patch_url(asset.href)
