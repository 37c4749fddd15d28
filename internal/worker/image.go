package worker

import "context"

// RuntimePrefix begins the keys of managed runtimes; their digests follow.
const RuntimePrefix = "runtimes/"

// runtimeCode names the volume of a managed runtime, which is nobody's.
func runtimeCode(img Image) []CodeRef {
	return []CodeRef{{Object: RuntimePrefix + img.Digest, File: img.Path}}
}

// root mounts a managed runtime.
func (w *Worker) root(ctx context.Context, runtime string) (Image, *codeEntry, error) {
	img, err := w.cfg.Images.Image(ctx, runtime)
	if err != nil {
		return Image{}, nil, err
	}
	root, err := w.code.acquire(ctx, runtimeCode(img))
	return img, root, err
}
