# Servers that answer their clients themselves: packets to the VIP come by the director, answers by-pass it (direct routing). The
# ports are Nomad's, as in any other job; the node's own syncer (real_server {}) gives packets to the containers.
# Run: nomad job run -var vip=198.18.0.32:80 jobs/direct.nomad.hcl; the servers' logs name the client's own address.
variable "vip" {
  type    = string
  default = "198.18.0.32:80"
}

variable "forward" {
  type    = string
  default = "dr"
}

# Size of the second file, in KiB.
variable "large" {
  type    = number
  default = 1024
}

variable "count" {
  type    = number
  default = 1
}

variable "release" {
  type    = string
  default = "1"
}

job "direct" {
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
      name         = "direct-servers"
      provider     = "consul"
      port         = "www"
      address_mode = "host"
      tags         = ["ipvs.vip=${var.vip}", "ipvs.scheduler=rr", "ipvs.forward=${var.forward}", "ipvs.snat=${var.forward == "masq"}"]

      check {
        type     = "http"
        path     = "/"
        interval = "1s"
        # Long: of a single instance that a busy machine keeps from answering, Consul says that it is critical.
        timeout = "10s"
      }
    }

    update {
      max_parallel     = 1
      min_healthy_time = "1s"
    }

    task "web" {
      driver = "docker"

      config {
        image   = "busybox:1"
        command = "sh"
        # The second file is large, so that it can be seen which way it takes.
        args  = ["-c", "dd if=/dev/zero of=/local/large bs=1024 count=${var.large} 2>/dev/null; exec httpd -v -f -p ${NOMAD_PORT_www} -h /local"]
        ports = ["www"]
      }

      template {
        data        = "direct: release ${var.release}\n"
        destination = "local/index.html"
      }

      resources {
        cpu    = 50
        memory = 32
      }
    }
  }
}
