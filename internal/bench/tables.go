package main

// tables are all that is measured.
func tables() []table {
	const pipeline = "skopeo, umoci, mksquashfs zstd-3, veritysetup, dd"
	return []table{
		{"Making an image", []row{
			{"cpu", "OCI layout to slot image with tree, default level, CPU", pipeline, slotImage, cpu, seconds, times(0.5)},
			{"wall", "the same, wall", pipeline, slotImage, wall, seconds, times(0.35)},
			{"rss", "the same, peak memory", "mksquashfs, the largest of them", slotImage, rss, megabytes, atMost(64)},
			{"rss-large", "peak memory on an image of ten roots", "tar2sqfs zstd-3, the same layer", large, rss, megabytes, atMost(64)},
			{"disk", "temporary disk, local source", pipeline, tempDisk, disk, megabytes, atMost(0)},
			{"tar", "tar to squashfs alone, CPU", "tar2sqfs zstd-3", fromTar, cpu, seconds, times(1.6)},
			{"tar-wall", "the same, wall", "tar2sqfs zstd-3", fromTar, wall, seconds, bar{}},
			{"size", "image size, default level", "mksquashfs zstd-3, 128K", slotImage, size, megabytes, times(1)},
			{"best-size", "image size, best level", "mksquashfs zstd at its default level, 15", best, size, megabytes, times(1.03)},
			{"best-cpu", "the same, CPU: ours from the layout, the peer from files", "mksquashfs zstd at its default level, 15", best, cpu, seconds, times(1)},
			{"tree", "hash tree alone, CPU", "veritysetup format", hashTree, cpu, seconds, times(1)},
			{"tree-wall", "hash tree alone, wall", "veritysetup format", hashTree, wall, seconds, times(0.6)},
		}},
		{"Updating a device", []row{
			{"upgrade", "fetched for an upgrade of the system with its kernel, of the image", "casync, chunks of 16K, of a stock image", upgradeFetch, fetched, percent, atMost(26)},
			{"upgrade-ranges", "the same, requests", "casync, one for each chunk", upgradeFetch, ranges, pieces, atMost(200)},
			{"upgrade-stock", "the same", "an index of 4 KiB blocks of a stock image", upgradeIndex, fetched, percent, bar{}},
			{"small", "fetched for a program of 19 MB, a library and a file, of the image", "casync, chunks of 16K, of a stock image", patchFetch, fetched, percent, atMost(4)},
			{"small-stock", "the same", "an index of 4 KiB blocks of a stock image", patchIndex, fetched, percent, bar{}},
			{"metadata", "fetched besides for the upgrade, of the image", "casync's index", upgradeFetch, extra, percent, atMost(0.9)},
			{"layers", "fetched of an ordinary image, an upgrade layer on the base that runs", "the upgrade layer", layerFetch, bytesFetched, megabytes, times(1.01)},
			{"install", "full install of an update on the same disk, read back, wall", "dd conv=fsync, not read back", installDD, wall, seconds, times(2.5)},
			{"install-swupdate", "the same", "SWUpdate, streamed, not read back", installSWUpdate, wall, seconds, bar{}},
			{"install-rauc", "the same", "RAUC, plain bundle, not read back", installRAUC, wall, seconds, bar{}},
			{"apply-rss", "the same, peak memory", "SWUpdate", installSWUpdate, rss, megabytes, atMost(40)},
			{"apply-rss-large", "full install of ten roots, peak memory", "-", installLarge, rss, megabytes, atMost(40)},
			{"upgrade-rss", "peak memory of the upgrade", "casync make", upgradeFetch, rss, megabytes, atMost(40)},
			{"nothing", "fetched when there is nothing to do", "-", nothing, bytesFetched, kilobytes, atMost(20)},
			{"nothing-wall", "the same, wall", "-", nothing, wall, seconds, atMost(1)},
		}},
		{"Reading the mounted image, nothing in memory", append(
			readRows("read-", "mksquashfs zstd-3, 128K", times(1.05), (*bench).stock),
			readRows("wide-", "mksquashfs zstd-3, our block size", bar{}, (*bench).wide)...)},
		{"Booting", append(
			bootRows("boot-", "dracut, no more than needed", bootMinimal, atMost(400), times(1), times(1)),
			bootRows("boot-generic-", "dracut, any machine", bootGeneric, bar{}, bar{}, times(1))...)},
	}
}
