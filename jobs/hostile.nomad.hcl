# Four bad neighbours at once, each bounded in memory and processes: one that never stops writing, one that forks as much as it
# may, one that ends as soon as it runs, and one that is only there to have commands run inside by the hundred.
job "hostile" {
  datacenters = ["*"]

  # They never count as healthy.
  update {
    max_parallel = 0
  }

  group "output" {
    task "endless" {
      driver = "docker"

      config {
        image      = "busybox:1"
        command    = "yes"
        args       = ["a line that nobody reads"]
        pids_limit = 8
      }

      logs {
        max_files     = 2
        max_file_size = 5
      }

      resources {
        cpu    = 50
        memory = 16
      }
    }
  }

  group "forks" {
    task "bomb" {
      driver = "docker"

      config {
        image      = "busybox:1"
        command    = "sh"
        args       = ["-c", "f() { while :; do f & done; }; f & exec sleep 100000"]
        pids_limit = 64
      }

      resources {
        cpu    = 50
        memory = 32
      }
    }
  }

  group "exits" {
    restart {
      attempts = 1000
      interval = "1h"
      delay    = "100ms"
      mode     = "delay"
    }

    task "loop" {
      driver = "docker"

      config {
        image      = "busybox:1"
        command    = "false"
        pids_limit = 8
      }

      resources {
        cpu    = 50
        memory = 16
      }
    }
  }

  group "commands" {
    task "inside" {
      driver = "docker"

      config {
        image      = "busybox:1"
        command    = "sleep"
        args       = ["100000"]
        pids_limit = 1024
      }

      resources {
        cpu    = 50
        memory = 64
      }
    }
  }
}
