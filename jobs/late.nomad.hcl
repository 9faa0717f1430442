# A server that makes rolling updates hard: it listens three seconds after its start, and it exits the moment it gets
# SIGTERM. Consul checks it, and its VIP is in its tags, beside those of a gateway that is measured next to it.
# Run: nomad job run -var vip=198.18.0.30:80 jobs/late.nomad.hcl; another -var release=… makes a rolling update.
variable "vip" {
  type    = string
  default = "198.18.0.30:80"
}

variable "count" {
  type    = number
  default = 1
}

# Instances that an update replaces at once: all of them, unless they shall serve meanwhile.
variable "parallel" {
  type    = number
  default = 5
}

variable "release" {
  type    = string
  default = "1"
}

job "late" {
  datacenters = ["*"]

  group "servers" {
    count = var.count

    # Over all nodes, where there are several.
    spread {
      attribute = "${node.unique.name}"
    }

    network {
      port "www" {
        to = 8001
      }
    }

    service {
      name         = "late-servers"
      provider     = "consul"
      port         = "www"
      address_mode = "host"
      tags = [
        "ipvs.vip=${var.vip}", "ipvs.scheduler=rr", "ipvs.forward=masq", "ipvs.snat=true",
        "traefik.enable=true", "traefik.http.routers.late.rule=PathPrefix(`/`)",
      ]

      check {
        type     = "http"
        path     = "/"
        interval = "1s"
        # Long: of a single instance that a busy machine keeps from answering, Consul says that it is critical, and the
        # VIP refuses what the instance would have answered.
        timeout = "10s"
      }
    }

    update {
      max_parallel     = var.parallel
      min_healthy_time = "1s"
    }

    task "web" {
      driver = "docker"

      config {
        image   = "busybox:1"
        command = "sh"
        # As process 1 the shell takes SIGTERM by its trap and exits at once: the server dies with its container.
        args  = ["-c", "trap 'exit 0' TERM; sleep 3 & wait; httpd -f -p ${NOMAD_PORT_www} -h /local & wait"]
        ports = ["www"]
      }

      template {
        data        = "late, but here: release ${var.release}\n"
        destination = "local/index.html"
      }

      resources {
        cpu    = 50
        memory = 32
      }
    }
  }
}
